"""``python -m vpr.match A.jpg B.jpg``: how the patches of two photos match, as a figure and as scores.

The first photo is the query. The transport problem is that of re-ranking with the run's model.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import printable, run_command
from vpr.base.files import write_json
from vpr.base.machine import Device
from vpr.base.settings import NonNegativeFloat, PositiveInt, option, output, positional
from vpr.models.settings import RUN, TRUST
from vpr.retrieval.settings import RerankConfig, TransportOptions

if TYPE_CHECKING:
    from vpr.models.settings import Crop
    from vpr.retrieval.matching import Match, MatchedPhotos


@dataclass(frozen=True)
class MatchOptions:
    """Photos and model."""

    query: Path = positional("query photo", "A.jpg")
    database: Path = positional("database photo to compare it with", "B.jpg")
    run: Path = option(Path("builtin"), RUN)
    out: Path = output(Path("match.png"), "figure to write: .png, .pdf or .svg", "figure")
    json: Path | None = output(
        None, "write scores, marginals, transport plan and correspondences to this JSON file", "json"
    )
    lines: PositiveInt = option(30, "maximum number of correspondences in the figure and in --json")
    weight: NonNegativeFloat | None = option(None, "weight of S_struct; default: the calibrated weight of the run")
    trust: bool = option(False, TRUST)
    device: Device = option("auto", "device to compute on")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "How the patches of two photos match: scores, marginals, correspondences."
    return run_command("vpr.match", about, [MatchOptions, TransportOptions], _work, argv)


def _work(options: MatchOptions, transport: TransportOptions) -> None:
    from vpr.base.figures import format_of
    from vpr.retrieval.matching import require_files
    from vpr.run import load

    photos = options.query, options.database
    require_files(photos)
    format_of(options.out)
    run = load(options.run, options.device, trust=options.trust)
    config = transport.config(run.calibration)
    weight = run.calibration.weight if options.weight is None else options.weight
    pair = run.match(*photos, config)
    _print_scores(options, config, pair, weight)
    _draw(options, pair, run.config.crop)
    if options.json:
        write_json(options.json, _as_json(options, config, pair, weight))
    print(printable(f"written: {', '.join(str(path) for path in (options.out, options.json) if path)}"))


def _print_scores(options: MatchOptions, config: RerankConfig, pair: MatchedPhotos, weight: float) -> None:
    settings = f"{config.marginals} marginals, epsilon {config.epsilon:g}, mass {config.mass:g}"
    print(printable(f"{options.query} and {options.database}, by {options.run}: {settings}"))
    print(f"S_global  {pair.global_similarity:.4f}")
    print(f"S_struct  {pair.match.score:.4f}")
    print(f"score     {pair.score(weight):.4f}   S_global + {weight:g} * S_struct, higher is better")
    if pair.match.geometry is not None:
        share = pair.match.geometry.score[0]
        print(f"geometry  {share:.4f}   share of the moved mass that follows one map of the scene")


def _draw(options: MatchOptions, pair: MatchedPhotos, crop: Crop) -> None:
    from vpr.base.figures import save
    from vpr.description.photos import read_for_display
    from vpr.retrieval.drawing import draw_match

    photos = read_for_display(options.query, crop=crop), read_for_display(options.database, crop=crop)
    save(draw_match(photos, pair.match, options.lines), options.out, dpi=150)


def _as_json(options: MatchOptions, config: RerankConfig, pair: MatchedPhotos, weight: float) -> dict[str, object]:
    """The content of --json; patches are in row-major order from the upper left."""
    match, shares = pair.match, pair.match.moved_shares
    sides = zip(("query", "database"), (options.query, options.database), shares, ("query_weights", "database_weights"))
    photos = {
        name: {"photo": str(photo), "marginals": getattr(match, field).tolist(), "taken": share.tolist()}
        for name, photo, share, field in sides
    }
    scores = {"global": pair.global_similarity, "structural": match.score, "score": pair.score(weight)}
    return {
        "run": str(options.run),
        "settings": {"marginals": config.marginals, "epsilon": config.epsilon, "mass": config.mass, "weight": weight},
        "scores": scores,
        "geometry": _geometry(pair.match),
        **photos,
        "correspondences": pair.match.correspondences(options.lines),
        "plan": match.plan.tolist(),
    }


def _geometry(match: Match) -> dict[str, object] | None:
    """The geometry of a match; the map goes from x, y of the query's patches to x, y, in cells from the middle."""
    found = match.geometry
    if found is None:
        return None
    numbers = {"score": found.score, "inlier_mass": found.inlier_mass, "residual": found.residual}
    numbers["determinant"] = found.determinant
    return {"map": found.transform[0].tolist(), **{name: float(values[0]) for name, values in numbers.items()}}


if __name__ == "__main__":
    sys.exit(main())
