"""Where the names of points go, so that they hide neither each other nor a point. Knows boxes in
pixels; not figures."""

from collections.abc import Iterator, Sequence

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top

GAP = 6.0  # between a point and its name
REACH = (0.0, 8.0, 18.0, 30.0, 45.0, 60.0)  # further and further away, where it is crowded
MARK = 4.0  # half of what a point takes


def label_places(points: Sequence[Point], sizes: Sequence[Point], frame: Box) -> list[Point]:
    """The lower left corner of each name, taken in order: the nearest free place, or else that
    which hides least.

    Args:
        sizes: width and height of each name.
        frame: names stay inside.
    """
    taken = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    places = []
    for point, size in zip(points, sizes, strict=True):
        boxes = list(_around(point, size))
        hidden = [
            sum(_shared(box, other) for other in taken) + _outside(box, frame) for box in boxes
        ]
        box = boxes[hidden.index(min(hidden))]
        taken.append(box)
        places.append((box[0], box[1]))
    return places


def _around(point: Point, size: Point) -> Iterator[Box]:
    (x, y), (width, height) = point, size
    for reach in REACH:
        away = GAP + reach
        for left, bottom in (
            (x + away, y - height / 2),
            (x - away - width, y - height / 2),
            (x - width / 2, y + away),
            (x - width / 2, y - away - height),
            (x + GAP, y + away),
            (x + GAP, y - away - height),
            (x - GAP - width, y + away),
            (x - GAP - width, y - away - height),
        ):
            yield left, bottom, left + width, bottom + height


def _shared(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _outside(box: Box, frame: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - _shared(box, frame)
