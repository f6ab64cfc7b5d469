"""How long each kind of work takes, measured while a study runs, for the estimate of a dry run."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from prefixcap.study.artifacts.folder import StudyFolder, StudyJob
from prefixcap.util.files import checked_line, read_checked

NEWEST = 10
"""The number of other studies in the same folder whose measurements are used."""
# the kinds of work; their units are images, texts, optimizer steps, images, and images per metric
ENCODING, TEXTS, TRAINING = "encoding", "encoding texts", "training"
CAPTIONING, SCORING = "captioning", "scoring"
WORKS = (ENCODING, TEXTS, TRAINING, CAPTIONING, SCORING)


def record(job: StudyJob, work: str, component: str, units: int, seconds: float) -> None:
    """Append to the study's `timings.jsonl` how long units of one of the `WORKS` took.

    `what` names the component that did the work, for people who read the file.
    """
    if not units or not job.timed:
        return
    line = {"work": work, "what": component, "units": units, "seconds": round(seconds, 3)}
    job.files.path.mkdir(parents=True, exist_ok=True)
    with job.files.timings.open("a", encoding="utf-8") as file:
        # a single write, so that the lines of two processes do not mix
        file.write(checked_line(line))


def seconds_per_unit(files: StudyFolder) -> tuple[dict[str, float], set[str]]:
    """Average what was measured, by kind of work.

    Returns:
        The mean seconds per unit of each kind of work that was measured, and the kinds measured
        in the newest studies in the same parent folder instead.
    """
    means = _means([files.timings])
    neighbors = files.path.parent.glob(f"*/{files.timings.name}")
    newest = sorted(neighbors, key=lambda file: file.stat().st_mtime)[-NEWEST:]
    borrowed = {work: mean for work, mean in _means(newest).items() if work not in means}
    return means | borrowed, set(borrowed)


def _means(files: list[Path]) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    units: dict[str, int] = defaultdict(int)
    for line in (line for file in files for line in read_checked(file)[0]):
        seconds[line["work"]] += line["seconds"]
        units[line["work"]] += line["units"]
    return {work: seconds[work] / units[work] for work in WORKS if units[work]}
