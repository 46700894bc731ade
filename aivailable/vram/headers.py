"""Model files to a profile: which format a path holds, and who reads it."""

from pathlib import Path

from aivailable.errors import UserError
from aivailable.model.profile import Profile
from aivailable.vram.gguf_header import GGUF_MAGIC, read_gguf
from aivailable.vram.safetensors_header import read_safetensors


def read_profile(path: Path) -> Profile:
    """The profile of a GGUF file (the first part of a split one) or of a folder with safetensors and `config.json`.

    Only headers are read, not tensor data.

    Raises:
        UserError: Not a model, a truncated file, or a file that lacks what a footprint needs.
    """
    if path.is_dir():
        return read_safetensors(path)
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="check the path") from error
    if magic == GGUF_MAGIC:
        return read_gguf(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path.parent, only=path)
    raise UserError(
        f"{path}: neither a GGUF nor a safetensors file",
        hint="name a .gguf file, or a folder with config.json and .safetensors files",
    )
