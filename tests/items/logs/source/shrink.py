"""Write logs of Inspect again, by Inspect, without the transcripts of their samples; .eval also deflated.

    python shrink.py FOLDER INTO

A deflated archive is what Inspect wrote before it took Zstandard: the same members, packed by Python's zipfile.
"""

import sys
import zipfile
from pathlib import Path

from backports.zstd import zipfile as zipfile_of_later
from inspect_ai.log import read_eval_log, write_eval_log

for path in sorted((Path(sys.argv[1]) / "logs").iterdir()):
    log = read_eval_log(str(path))
    for sample in log.samples or []:
        sample.events = []
        sample.attachments = {}
    new = Path(sys.argv[2]) / f"{log.eval.model.removeprefix('hf/')}{path.suffix}"
    write_eval_log(log, str(new))
    if path.suffix == ".eval":
        with (
            zipfile_of_later.ZipFile(new) as packed,
            zipfile.ZipFile(new.with_stem(f"{new.stem}_deflated"), "w", zipfile.ZIP_DEFLATED) as deflated,
        ):
            for name in packed.namelist():
                deflated.writestr(name, packed.read(name))
