"""``python -m tools.picture``: the README's opening picture, of one query that re-ranking answers right.

It draws the wrong first answer of the shortlist, the query, and the right first answer after re-ranking, with the
patches of the query that decided it: those whose part of S_struct is the most larger for the right answer. Without
--query it takes the query whose score gains most.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpr.base.figures import COLOURS, save, style
from vpr.datasets.default import data_root
from vpr.datasets.msls import Protocol, load
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.shown import read_shown
from vpr.eval.evaluator import Answers, Evaluator
from vpr.eval.options import RankingConfig, SourceConfig
from vpr.retrieval.drawing import cell, inside, lower_by_column, photo_grid, show_photo
from vpr.retrieval.matching import Match
from vpr.retrieval.pairs import MatchedPhotos, match_photos
from vpr.retrieval.settings import RerankOptions
from vpr.run import load as load_run

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Story:
    """A query with its wrong first answer and the right one, files and matches."""

    name: str
    query: Path
    wrong: tuple[Path, MatchedPhotos]
    right: tuple[Path, MatchedPhotos]

    def gain(self, weight: float) -> float:
        """How far the right answer's score lies above the wrong one's."""
        return self.right[1].score(weight) - self.wrong[1].score(weight)

    def deciding(self, count: int) -> np.ndarray:
        """The query's patches whose part of S_struct is the most larger for the right answer."""
        right, wrong = (parts(found.match).sum(1) for _, found in (self.right, self.wrong))
        return np.argsort(wrong - right, kind="stable")[:count]


def main() -> None:
    """Evaluate, choose, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--run", type=Path, default=Path("builtin"))
    parser.add_argument("--query", help="its key; the one whose score gains most when left out")
    parser.add_argument("--patches", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/images/match.png"))
    options = parser.parse_args()
    data = load(data_root(options.data), Protocol()).retrieval_set
    ranking = RankingConfig(adapt=False)  # as two photos are described
    answers = Evaluator(ranking, RerankOptions(), CPU).answer(data, SourceConfig(options.run, rerank=True))
    weight = load_run(options.run, CPU).calibration.weight
    told = [story for story in stories(data, answers, options.run) if options.query in (None, story.name)]
    if not told:
        parser.error("no such query goes from a wrong first answer to a right one")
    best = max(told, key=lambda story: story.gain(weight))
    save(drawn(best, weight, options.patches), options.out, dpi=110)
    print(f"query {best.name}: {options.out}")


def stories(data: RetrievalSet, answers: Answers, run: Path) -> list[Story]:
    """The queries that go from a wrong first answer to a right one."""
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
        found.append(Story(str(data.queries.names[query]), file, sides[0], sides[1]))
    return found


def parts(match: Match) -> np.ndarray:
    """What each pair of patches gives to S_struct, (P, Q)."""
    return match.plan * match.similarity


def drawn(story: Story, weight: float, count: int) -> Any:
    """The figure: the wrong answer, the query, the right answer."""
    photos = [read_shown(path) for path in (story.wrong[0], story.query, story.right[0])]
    patches = story.deciding(count)
    with style():
        figure, axes = photo_grid(tuple(photos), [""])
        for part, photo in zip(axes[0], photos):
            show_photo(part, photo)
        titles = ["first by global descriptor: wrong", "query", "first after re-ranking: right"]
        for part, title, side in zip(axes[0], titles, (story.wrong, None, story.right)):
            score = "" if side is None else f"   score {side[1].score(weight):.1f}"
            part.set_title(title + score, loc="left", fontsize=9, pad=3)
        most = float(parts(story.right[1].match)[patches].max())
        for place, colour, side in ((0, COLOURS[1], story.wrong), (2, COLOURS[2], story.right)):
            join((axes[0][1], axes[0][place]), (photos[1], photos[place]), side[1].match, patches, (colour, most))
        for patch in patches:
            outline(axes[0][1], photos[1], patch, parts(story.right[1].match).shape[0])
    return figure


def join(
    axes: tuple[Any, Any], photos: tuple[Any, Any], match: Match, patches: np.ndarray, look: tuple[str, float]
) -> None:
    """Lines from patches of the query to what they match best, thick by what the pair gives to S_struct.

    look: the colour, and what the thickest line gives.
    """
    from matplotlib.patches import ConnectionPatch
    from matplotlib.patheffects import Normal, Stroke

    given, (colour, most) = parts(match), look
    own, theirs = given.shape
    for patch in patches:
        other, lower = int(given[patch].argmax()), lower_by_column(patch, own)
        ends = inside(photos[0], patch, own, lower), inside(photos[1], other, theirs, lower)
        wide = 0.8 + 1.2 * float(given[patch, other]) / most
        line = ConnectionPatch(ends[0], ends[1], "data", "data", axesA=axes[0], axesB=axes[1], linewidth=wide)
        line.set(color=colour, path_effects=[Stroke(linewidth=wide + 1, foreground="white"), Normal()])
        axes[0].figure.add_artist(line)
        outline(axes[1], photos[1], other, theirs, colour)


def outline(axes: Any, photo: np.ndarray, patch: int, count: int, colour: str = "white") -> None:
    """The border of a patch."""
    from matplotlib.patches import Rectangle

    x, y, width, height = cell(photo, patch, count)
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1.2))


if __name__ == "__main__":
    main()
