"""The peers: what each needs, how it is set up, and the commands that time it."""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = ["torch", "onnxruntime", "openvino", "burn", "candle", "moue"]
MOUE = "moue"

# Python packages that each needs, and the tables that it appears in.
PACKAGES = {
    "torch": ["torch", "numpy", "safetensors"],
    "onnxruntime": ["onnxruntime", "onnx", "onnxscript", "torch", "numpy", "safetensors"],
    "openvino": ["openvino", "onnx", "onnxscript", "torch", "numpy", "safetensors"],
}
SHOWN_IN = {
    "torch": ["step", "infer", "layers"],
    "onnxruntime": ["infer", "layers"],
    "openvino": ["infer", "layers"],
    "burn": ["step", "infer"],
    "candle": ["step", "infer"],
    "moue": ["step", "infer", "layers"],
}
CRATES = {"burn": "burn", "candle": "candle-core"}

# As installed, 10 to 40 % of PyTorch's time goes to mapping fresh activations in every step. This keeps the memory.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "MALLOC_ARENA_MAX": "1",
}


class Failed(Exception):
    """A peer that could not be set up or timed; the text says why, in a line."""


@dataclass
class Peer:
    name: str
    command: list
    extra: dict = field(default_factory=dict)

    def measure(self):
        """The JSON object that the command prints."""
        return json.loads(run(self.command, self.extra))


def run(command, extra=None, cwd=None):
    """What a command prints."""
    command = [str(part) for part in command]
    done = subprocess.run(command, env=os.environ | (extra or {}), cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise Failed(f"{Path(command[0]).name} ended with status {done.returncode}: {said[-1]}")
    return done.stdout


def environment(python):
    """A Python for the Python peers."""
    if python:
        return python
    folder = ROOT / "target" / "peers-venv"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"setting up {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    return python


def installed(python):
    """Package -> version of the Python peers' packages that are installed."""
    names = sorted({name for names in PACKAGES.values() for name in names})
    program = (
        "import importlib.metadata as m, json, sys\n"
        "found = {d.metadata['Name'].lower(): d.version for d in m.distributions() if d.metadata['Name']}\n"
        "print(json.dumps({n: found[n] for n in sys.argv[1:] if n in found}))"
    )
    return json.loads(run([python, "-c", program, *names]))


def build(folder, name):
    """The binary of a cargo project, built in release."""
    print(f"building {name}", file=sys.stderr)
    command = ["cargo", "build", "--release", "--message-format=json-render-diagnostics"]
    if folder != ROOT and "CARGO_TARGET_DIR" not in os.environ:
        command += ["--target-dir", str(ROOT / "target" / "peers")]
    try:
        built = run(command, cwd=folder)
    except FileNotFoundError:
        raise Failed("cargo is not installed") from None
    messages = map(json.loads, built.splitlines())
    return [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == name][-1]


def crate_version(peer):
    """The version that a Rust peer's Cargo.toml pins."""
    dependencies = tomllib.loads((HERE / peer / "Cargo.toml").read_text())["dependencies"]
    pinned = dependencies[CRATES[peer]]
    return (pinned if isinstance(pinned, str) else pinned["version"]).lstrip("=")


class Setup:
    """Peers that are there: binaries, ONNX files, versions; `skipped` says in a line why another is not."""

    def __init__(self, args, tables):
        self.skipped, self.versions, self.binaries = [], [], {}
        wanted = [peer for peer in PEERS if peer in args.peers and set(SHOWN_IN[peer]) & set(tables)]
        self.python = environment(args.python) if set(wanted) & set(PACKAGES) else None
        packages = installed(self.python) if self.python else {}
        self.peers = [peer for peer in wanted if self.ready(peer, packages, args.moue)]
        if {"onnxruntime", "openvino"} & set(self.peers):
            self.export(args.batch, tables)

    def ready(self, peer, packages, moue):
        try:
            self.versions.append(self.prepare(peer, packages, moue))
        except Failed as error:
            self.skipped.append(f"{peer}: {error}")
            return False
        return True

    def prepare(self, peer, packages, moue):
        """Sets a peer up; its name and version."""
        if peer in PACKAGES:
            missing = [name for name in PACKAGES[peer] if name not in packages]
            if missing:
                raise Failed(f"not installed: {', '.join(missing)} (benches/peers/README.md says how)")
            return f"{peer} {packages[peer]}"
        if peer == MOUE:
            self.binaries[peer] = moue or build(ROOT, "moue")
            return run([self.binaries[peer], "--version"]).strip()
        self.binaries[peer] = build(HERE / peer, f"peer-{peer}")
        return f"{peer} {crate_version(peer)}"

    def export(self, batch, tables):
        """Writes the ONNX files that the tables need."""
        self.folder = tempfile.TemporaryDirectory()
        print("exporting the network and its layers to ONNX", file=sys.stderr)
        command = [self.python, HERE / "export.py", self.folder.name]
        command += ["--network", *sorted({1, batch})] if "infer" in tables else []
        command += ["--layers", batch] if "layers" in tables else []
        try:
            run(command)
        except Failed as error:
            self.skipped.append(f"onnxruntime, openvino: {error}")
            self.peers = [peer for peer in self.peers if peer not in ("onnxruntime", "openvino")]

    def script(self, name, *options):
        return [self.python, HERE / name, *options]

    def runtimes(self, script, size):
        """ONNX Runtime and OpenVINO on the exported files."""
        names = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
        for peer in [peer for peer in names if peer in self.peers]:
            yield Peer(names[peer], self.script(script, peer, "--models", self.folder.name, *size))

    def rust(self, what, threads, batch):
        """burn and candle, whose thread pools are sized by the environment."""
        for peer in [peer for peer in CRATES if peer in self.peers]:
            extra = {"RAYON_NUM_THREADS": str(threads)}
            yield Peer(peer, [self.binaries[peer], what, "--batch", batch], extra)

    def moue(self, what, size):
        if MOUE in self.peers:
            yield Peer(MOUE, [self.binaries[MOUE], "profile", what, "--json", *size])


def size_of(threads, batch):
    return ["--batch", batch, "--threads", threads]


def step(setup, threads, batch):
    size = size_of(threads, batch)
    rows = []
    if "torch" in setup.peers:
        script = setup.script("step.py", *size)
        rows += [
            Peer("PyTorch eager, as installed", script),
            Peer("PyTorch torch.compile, as installed", [*script, "--compile"]),
            Peer("PyTorch eager, tuned", [*script, "--adam", "fused"], KEEP_MEMORY),
            Peer("PyTorch torch.compile, tuned", [*script, "--adam", "fused", "--compile"], KEEP_MEMORY),
        ]
    return [*rows, *setup.rust("step", threads, batch), *setup.moue("step", size)]


def infer(setup, threads, batch):
    size = size_of(threads, batch)
    rows = []
    if "torch" in setup.peers:
        script = setup.script("infer.py", "torch", *size)
        rows += [
            Peer("PyTorch eager, tuned", script, KEEP_MEMORY),
            Peer("PyTorch torch.compile, tuned", [*script, "--compile"], KEEP_MEMORY),
        ]
    rust = setup.rust("infer", threads, batch)
    return [*rows, *setup.runtimes("infer.py", size), *rust, *setup.moue("infer", size)]


def layers(setup, threads, batch):
    size = size_of(threads, batch)
    rows = []
    if "torch" in setup.peers:
        rows.append(Peer("PyTorch", setup.script("layers.py", "torch", *size), KEEP_MEMORY))
    rows += setup.runtimes("layers.py", size)
    whole = [Peer(f"{peer.name}, whole", [*peer.command, "--whole"]) for peer in setup.runtimes("layers.py", size)]
    return [*rows, *whole, *setup.moue("dsconv", size)]


TABLES = {"step": step, "infer": infer, "layers": layers}
