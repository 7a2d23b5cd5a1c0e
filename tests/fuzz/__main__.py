"""Fuzz the readers of documents: `python -m tests.fuzz [--seconds N] [--seed N]`; exit 1 when there is a find.

It needs atheris, which is not among the tools of every day. The corpus begins with valid documents and lives in a
folder that is removed at the end, unless `--corpus FOLDER` keeps it. A find is kept, and its path told.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

_WORDS = """
{ } [ ] : , " null true false -0 1e400 NaN 9007199254740991 9007199254740992 \\\\u0061 \\\\ud800 \\x00 @ . = \\x0a
"iss" "sub" "aud" "may_act" "cnf" "jwk" "jti" "iat" "nbf" "exp" "del_depth" "del_max_depth" "par_hash" "purpose"
"authorization_details" "type" "actions" "spaces" "budget" "urn:remit:grant" "kty" "crv" "x" "y" "OKP" "EC" "Ed25519"
"P-256" "alg" "typ" "kid" "none" "HS256" "ES256" "EdDSA" "jku" "crit" "b64" "zip" "links" "dataset:query" "read" "work"
"""


def main() -> int:
    """Fuzz for some seconds."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the readers of signed documents")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same inputs; 0: another each time")
    parser.add_argument("--corpus", type=Path, help="a folder to begin with and to keep")
    given = parser.parse_args()
    try:
        import atheris
    except ImportError:
        sys.stderr.write("atheris is not installed here. `make fuzz` installs it, pinned, and runs this.\n")
        return 2
    with atheris.instrument_imports(include=["remit"], enable_loader_override=False):
        from . import targets

    corpus = given.corpus or Path(tempfile.mkdtemp(prefix="remit-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = corpus.with_name(f"{corpus.name}.words")
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in _WORDS.split()), encoding="utf-8")
    finds = Path(tempfile.gettempdir()) / f"remit-fuzz-find-{os.getpid()}-"
    arguments = [
        sys.argv[0],
        str(corpus),
        f"-max_total_time={given.seconds}",
        f"-seed={given.seed}",
        f"-artifact_prefix={finds}",
        f"-dict={words}",
        "-timeout=10",
        "-max_len=40000",
        "-len_control=10",
        "-use_value_profile=1",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    # libFuzzer ends the process itself, so this one waits for a child and cleans up behind it.
    child = os.fork()
    if child == 0:
        atheris.Setup(arguments, targets.run)
        atheris.Fuzz()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    words.unlink()
    if given.corpus is None:
        for path in corpus.iterdir():
            path.unlink()
        corpus.rmdir()
    return 0 if status == 0 else 1


def _quoted(word: str) -> str:
    return word.replace('"', '\\"')


if __name__ == "__main__":
    sys.exit(main())
