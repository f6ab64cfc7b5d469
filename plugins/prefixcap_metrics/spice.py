"""SPICE 1.0, if its models have been downloaded."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap.util.storage.temporary import temporary_folder
from prefixcap_metrics.java import check, executable, jars, running
from prefixcap_metrics.ptb_tokenizer import tokenise_records

MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


class SpiceMetric(Metric):
    """SPICE, the mean over images of the F-score of scene graphs.

    Args:
        memory: Maximum heap of Java, in GB.

    Raises:
        PrefixcapError: If Java or the models, which are never downloaded automatically, are
            missing.
    """

    def __init__(self, memory: int) -> None:
        check()
        self._memory = memory
        folder = jars() / "spice" / "lib"
        missing = [name for name in MODELS if not (folder / name).is_file()]
        if missing:
            raise PrefixcapError(
                f"spice needs {' and '.join(missing)} in {folder}; download them (385 MB) with "
                "python -m pycocoevalcap.spice.get_stanford_models"
            )

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        tokens = tokenise_records(records)
        data = [
            {"image_id": i, "test": tokens.predictions[i][0], "refs": tokens.references[i]}
            for i in range(len(records))
        ]
        with temporary_folder() as folder:
            results = self._run(data, folder)
        by_image = {result["image_id"]: _f_score(result["scores"]) for result in results}
        each = tuple(by_image[i] for i in range(len(records)))
        return Scores(values={"SPICE": sum(each) / len(each)}, per_image={"SPICE": each})

    def _run(self, data: object, folder: Path) -> list[dict[str, object]]:
        source, target = folder / "input.json", folder / "output.json"
        source.write_text(json.dumps(data), encoding="utf-8")
        command = [executable(), f"-Xmx{self._memory}G"]
        command += ["--add-opens=java.base/java.lang=ALL-UNNAMED", "-jar", "spice-1.0.jar"]
        command += [str(source), "-out", str(target), "-subset", "-silent"]
        with running(command[0]):
            done = subprocess.run(command, cwd=jars() / "spice", capture_output=True, check=False)
        if done.returncode or not target.is_file():
            reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise PrefixcapError(f"SPICE failed on Java {command[0]}: {reason[0]}")
        results: list[dict[str, object]] = json.loads(target.read_text(encoding="utf-8"))
        return results


def _f_score(scores: object) -> float:
    assert isinstance(scores, Mapping)
    try:
        f = float(scores["All"]["f"])
    except (TypeError, ValueError):
        f = math.nan
    return 0.0 if math.isnan(f) else f  # no scene graph: nothing is shared, as without words
