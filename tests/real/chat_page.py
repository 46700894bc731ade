"""A stand-in for Open WebUI: finds its way by the same environment, asks the endpoint for its models, keeps a file.

`/health` as Open WebUI's; `/models` asks the endpoint with the key; `/told` says what it was told, secrets as hashes;
`/data` counts in a file, by which a test sees whether data is found again.
"""

import hashlib
import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

SECRETS = ("OPENAI_API_KEYS", "RAG_OPENAI_API_KEY", "WEBUI_SECRET_KEY")


def models() -> tuple[int, object]:
    request = urllib.request.Request(
        f"{os.environ['OPENAI_API_BASE_URLS']}/models",
        headers={"authorization": f"Bearer {os.environ['OPENAI_API_KEYS']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 502, str(error)


def told() -> tuple[int, object]:
    hashed = {name: hashlib.sha256(os.environ[name].encode()).hexdigest() for name in SECRETS}
    return 200, {**os.environ, **hashed}


def data() -> tuple[int, object]:
    file = Path(os.environ["DATA_DIR"]) / "count"
    count = int(file.read_text()) + 1 if file.is_file() else 1
    file.write_text(str(count))
    return 200, {"count": count}


PAGES = {"/health": lambda: (200, {"status": True}), "/models": models, "/told": told, "/data": data}


class Page(BaseHTTPRequestHandler):
    """One answer."""

    def do_GET(self) -> None:
        status, document = PAGES.get(self.path, lambda: (404, "no such page"))()
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Page).serve_forever()
