"""``python -m tools.picture``: the first picture of the README, of a query that re-ranking corrects.

It draws the wrong first answer of the shortlist, the query, and the right first answer after re-ranking. It marks the
patches of the query whose part of S_struct grows most from the wrong to the right answer. Without --query it takes the
query whose score gains most.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpr.base.figures import COLOURS, save, style
from vpr.datasets.default_data import data_root
from vpr.datasets.msls import Protocol, load
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.photos import read_for_display
from vpr.eval.evaluator import Answers, Evaluator
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.retrieval.drawing import line_height, patch_box, patch_point, photo_grid, show_photo
from vpr.retrieval.matching import Match
from vpr.retrieval.pairs import MatchedPhotos, match_photos
from vpr.retrieval.settings import RerankOptions
from vpr.run import load as load_run

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Correction:
    """A query with its wrong first answer and the right one: files and matches."""

    name: str
    query: Path
    wrong: tuple[Path, MatchedPhotos]
    right: tuple[Path, MatchedPhotos]

    def gain(self, weight: float) -> float:
        """The score of the right answer minus that of the wrong one."""
        return self.right[1].score(weight) - self.wrong[1].score(weight)

    def deciding_patches(self, count: int) -> np.ndarray:
        """The patches of the query whose part of S_struct grows most from the wrong to the right answer."""
        right, wrong = (pair_scores(found.match).sum(1) for _, found in (self.right, self.wrong))
        return np.argsort(wrong - right, kind="stable")[:count]


def main() -> None:
    """Evaluate, choose a query, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--run", type=Path, default=Path("builtin"))
    parser.add_argument("--query", help="key of the query; default: the query whose score gains most")
    parser.add_argument("--patches", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/images/match.png"))
    options = parser.parse_args()
    data = load(data_root(options.data), Protocol()).retrieval_set
    ranking = RankingOptions(adapt=False)  # as in `match_photos`
    answers = Evaluator(ranking, RerankOptions(), CPU).answer(data, SourceOptions(options.run, rerank=True))
    weight = load_run(options.run, CPU).calibration.weight
    corrections = [
        story for story in find_corrections(data, answers, options.run) if options.query in (None, story.name)
    ]
    if not corrections:
        parser.error("re-ranking corrects no such query")
    best = max(corrections, key=lambda story: story.gain(weight))
    save(draw(best, weight, options.patches), options.out, dpi=110)
    print(f"query {best.name}: {options.out}")


def find_corrections(data: RetrievalSet, answers: Answers, run: Path) -> list[Correction]:
    """The queries whose first answer is wrong before re-ranking and right after it."""
    loaded = load_run(run, CPU)
    model, config = loaded.network, RerankOptions().config(loaded.calibration)
    found = []
    for query in data.scored.tolist():
        wrong, right = answers.shortlist.ranked[query, 0], answers.ranked[query, 0]
        positives = data.answers[query]
        if wrong in positives or right not in positives:
            continue
        file = data.root / data.queries.images[query, 0]
        others = [data.root / data.database.images[entry, 0] for entry in (wrong, right)]
        sides = [(other, match_photos(model, (file, other), config, CPU)) for other in others]
        found.append(Correction(str(data.queries.names[query]), file, sides[0], sides[1]))
    return found


def pair_scores(match: Match) -> np.ndarray:
    """The part of each pair of patches in S_struct, (P, Q)."""
    return match.plan * match.similarity


def draw(story: Correction, weight: float, count: int) -> Any:
    """The figure: the wrong answer, the query, the right answer."""
    photos = [read_for_display(path) for path in (story.wrong[0], story.query, story.right[0])]
    patches = story.deciding_patches(count)
    with style():
        figure, axes = photo_grid(tuple(photos), [""])
        for part, photo in zip(axes[0], photos):
            show_photo(part, photo)
        titles = ["first by global descriptor: wrong", "query", "first after re-ranking: right"]
        for part, title, side in zip(axes[0], titles, (story.wrong, None, story.right)):
            score = "" if side is None else f"   score {side[1].score(weight):.1f}"
            part.set_title(title + score, loc="left", fontsize=9, pad=3)
        most = float(pair_scores(story.right[1].match)[patches].max())
        for place, colour, side in ((0, COLOURS[1], story.wrong), (2, COLOURS[2], story.right)):
            join_patches(
                (axes[0][1], axes[0][place]), (photos[1], photos[place]), side[1].match, patches, (colour, most)
            )
        for patch in patches:
            outline(axes[0][1], photos[1], patch, pair_scores(story.right[1].match).shape[0])
    return figure


def join_patches(
    axes: tuple[Any, Any], photos: tuple[Any, Any], match: Match, patches: np.ndarray, look: tuple[str, float]
) -> None:
    """Draw lines from patches of the query to their best matches, with a width by the pair's part in S_struct.

    look: the colour, and the part of the thickest line.
    """
    from matplotlib.patches import ConnectionPatch
    from matplotlib.patheffects import Normal, Stroke

    given, (colour, most) = pair_scores(match), look
    own, theirs = given.shape
    for patch in patches:
        other, lower = int(given[patch].argmax()), line_height(patch, own)
        ends = patch_point(photos[0], patch, own, lower), patch_point(photos[1], other, theirs, lower)
        wide = 0.8 + 1.2 * float(given[patch, other]) / most
        line = ConnectionPatch(ends[0], ends[1], "data", "data", axesA=axes[0], axesB=axes[1], linewidth=wide)
        line.set(color=colour, path_effects=[Stroke(linewidth=wide + 1, foreground="white"), Normal()])
        axes[0].figure.add_artist(line)
        outline(axes[1], photos[1], other, theirs, colour)


def outline(axes: Any, photo: np.ndarray, patch: int, count: int, colour: str = "white") -> None:
    """Draw the border of a patch."""
    from matplotlib.patches import Rectangle

    x, y, width, height = patch_box(photo, patch, count)
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1.2))


if __name__ == "__main__":
    main()
