#!/usr/bin/env python3
"""Breaks each backward rule in turn (mutants.txt) and looks whether the tests notice.

    tests/reliability/mutants.py            # all that have no result yet, then target/mutants/summary.md
    tests/reliability/mutants.py pool relu  # those of them whose file or rule contains a word

All mutants are built into one copy of the repository, each behind a switch, `if mutant(k) { new } else { old }`, and the
environment variable MUTANT turns one on: the SIMD bodies are one unit of compilation, which takes a minute to build.
The copy and its build are under target/mutants. Results are appended to results.jsonl there as they come, so that a run
that was stopped goes on where it was; a changed mutant runs again.
"""
import argparse, collections, dataclasses, json, os, pathlib, re, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "mutants"
TREE, RESULTS = WORK / "tree", WORK / "results.jsonl"
SECONDS = 300  # of one stage

SWITCH = """
/// Whether mutant k is on.
#[doc(hidden)]
#[inline(always)]
pub fn mutant(k: u32) -> bool {
    static CHOSEN: std::sync::LazyLock<u32> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").map_or(0, |k| k.parse().unwrap()));
    *CHOSEN == k
}
"""

# Test binaries of each stage, and what they are told.
STAGES = {
    "parity": [("parity", ["--skip", "network_shapes"])],
    "gradients": [("moue", [])],
    "golden": [("golden", [])],
    "models": [("gradcheck", []), ("overfit", []), ("determinism", [])],
    "units": [("moue_kernels", []), ("moue", [])],
}
# In the order in which they are likely to notice, cheapest first.
ORDER = [("kernels/src/oracle/", ["gradients", "parity", "golden", "models", "units"]),
         ("kernels/", ["parity", "gradients", "golden", "models", "units"]),
         ("src/", ["gradients", "golden", "models", "units"])]


@dataclasses.dataclass
class Mutant:
    file: str
    words: list  # in the names of the kernels and tests that ought to notice; empty: all
    rule: str
    old: str = ""
    new: str = ""

    @property
    def key(self):
        return json.dumps([self.file, self.rule, self.old, self.new])


def read_list():
    mutants, file, words = [], None, []
    for line in pathlib.Path(__file__).with_name("mutants.txt").read_text().splitlines():
        if line.startswith("["):
            file, *words = line.replace("[", "").replace("]", "").split()
        elif line.startswith("- "):
            mutants[-1].old += ("\n" if mutants[-1].old else "") + line[2:]
        elif line.startswith("+ "):
            mutants[-1].new += ("\n" if mutants[-1].new else "") + line[2:]
        elif line and not line.startswith("#"):
            mutants.append(Mutant(file, words, line))
    bad = []
    for m in mutants:
        count = (ROOT / m.file).read_text().count(m.old)
        if count != 1 or not m.old or m.old == m.new:
            bad.append(f"{m.file}: {m.rule}: its text occurs {count} times")
    if bad:
        sys.exit("\n".join(bad))
    return mutants


def switched(text, k, mutant):
    """`text` with mutant k behind its switch: a statement, or an expression."""
    crate = "crate" if mutant.file.startswith("kernels/") else "moue_kernels"
    switch = f"if {crate}::mutant({k}) {{ {mutant.new} }} else {{ {mutant.old} }}"
    # Of two mutants of one text the second goes into the first's branch without a mutant.
    before, found, after = text.rpartition(mutant.old)
    if not found:
        sys.exit(f"{mutant.file}: {mutant.rule}: another mutant overlaps")
    return before + (switch if mutant.old.endswith(";") else f"({switch})") + after


def with_switches(name, mutants):
    """The content of a file with its mutants in it."""
    data = (ROOT / name).read_bytes()
    for k, mutant in enumerate(mutants, 1):
        if mutant.file == name:
            data = switched(data.decode(), k, mutant).encode()
    return data


def write_tree(mutants):
    """The copy, with all mutants in it; files that stay the same keep their time, so that cargo builds little again."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.splitlines()
    for name in names:
        if not (ROOT / name).is_file():
            continue
        data = with_switches(name, mutants)
        if name == "kernels/src/lib.rs":
            data += SWITCH.encode()
        to = TREE / name
        if not (to.is_file() and to.read_bytes() == data):
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(data)


def build():
    """Paths of the test binaries by name. Optimised as little as SIMD bodies bear: most of the time is compiling."""
    environment = os.environ | {
        "CARGO_TARGET_DIR": str(WORK / "build"), "CARGO_INCREMENTAL": "1", "CARGO_PROFILE_DEV_DEBUG": "0",
        "CARGO_PROFILE_DEV_OPT_LEVEL": "1", "RUSTFLAGS": "-Awarnings"}
    tests = [word for stage in ("parity", "golden", "gradcheck", "overfit", "determinism") for word in ("--test", stage)]
    command = ["cargo", "test", "--workspace", "--exclude", "moue-datasets", "--lib", *tests, "--no-run",
               "--message-format=json"]
    done = subprocess.run(command, cwd=TREE, env=environment, stdout=subprocess.PIPE, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        sys.exit("".join(r["message"]["rendered"] for r in rows if r["reason"] == "compiler-message"
                         and r["message"]["level"] == "error"))
    return {r["target"]["name"]: r["executable"] for r in rows
            if r.get("executable") and r["profile"]["test"]}


def run_stage(binaries, stage, k, words=()):
    """None if all tests pass with mutant k (0: none), else what noticed."""
    environment = os.environ | {"MUTANT": str(k), "MOUE_KERNELS": ",".join(words), "RUST_BACKTRACE": "0"}
    for name, arguments in STAGES[stage]:
        if stage == "gradients":
            arguments = words or ["ops::", "gradcheck::", "optim::", "plan"]
        folder = TREE / "kernels" if name in ("parity", "moue_kernels") else TREE
        try:
            done = subprocess.run([binaries[name], *arguments], cwd=folder, env=environment, timeout=SECONDS,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except subprocess.TimeoutExpired:
            return f"{stage}: out of time"
        if done.returncode != 0:
            failed = re.findall(r"^test (\S+) \.\.\. FAILED", done.stdout, re.M)
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            return f"{stage}: {failed[0] if failed else 'abort'}{more}"
    return None


def summary(mutants, results):
    done = [(m, results[m.key]) for m in mutants if m.key in results]
    caught = collections.Counter(r["by"].split(":")[0] for _, r in done if r["by"])
    lines = [f"{len(done)} of {len(mutants)} mutants, {caught.total()} caught (first by "
             + ", ".join(f"{stage} {n}" for stage, n in caught.most_common())
             + f"), {len(done) - caught.total()} survived.", "", "| file | broken rule | noticed by |", "| --- | --- | --- |"]
    lines += [f"| {m.file} | {m.rule} | {r['by'] or '**nothing**'} |" for m, r in done]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--again", action="store_true", help="those that have a result, too")
    parser.add_argument("--check", action="store_true", help="only that the mutants fit the source")
    arguments = parser.parse_args()
    mutants = read_list()
    if arguments.check:
        for name in {m.file for m in mutants}:
            with_switches(name, mutants)
        return print(f"{len(mutants)} mutants")
    results = {}
    if RESULTS.exists():
        results = {row["key"]: row for row in map(json.loads, RESULTS.read_text().splitlines())}
    named = [m for m in mutants if any(word in f"{m.file} {m.rule}" for word in arguments.words or [""])]
    wanted = named if arguments.again else [m for m in named if m.key not in results]
    write_tree(mutants)
    binaries = build()
    sound = set()

    def noticed(stage, k, words):
        """What `run_stage` says, of a stage that passes without a mutant."""
        if stage not in sound and (failed := run_stage(binaries, stage, 0)):
            sys.exit(f"without any mutant: {failed}")
        sound.add(stage)
        return run_stage(binaries, stage, k, words)

    for i, mutant in enumerate(wanted, 1):
        begin = time.monotonic()
        stages = next(order for prefix, order in ORDER if mutant.file.startswith(prefix))
        k = mutants.index(mutant) + 1
        by = next(filter(None, (noticed(stage, k, mutant.words) for stage in stages)), "")
        results[mutant.key] = {"key": mutant.key, "by": by}
        with RESULTS.open("a") as file:
            file.write(json.dumps(results[mutant.key]) + "\n")
        print(f"{i}/{len(wanted)} {time.monotonic() - begin:6.1f} s  {mutant.file}: {mutant.rule}: "
              f"{by or 'SURVIVED'}", flush=True)
    (WORK / "summary.md").write_text(summary(mutants, results))
    print(summary(mutants, results).split("\n")[0])
    sys.exit(any(not results[m.key]["by"] for m in mutants if m.key in results))


if __name__ == "__main__":
    main()
