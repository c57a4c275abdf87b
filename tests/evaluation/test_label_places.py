from itertools import combinations

from dualrec.evaluation.label_places import MARK, label_places

FRAME = (0.0, 0.0, 400.0, 300.0)


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(
        one[1], other[1]
    )


def test_names_of_crowded_points_hide_neither_each_other_nor_a_point_and_stay_inside() -> None:
    points = [(200.0 + 9 * (number % 3), 150.0 + 7 * (number // 3)) for number in range(9)] + [
        (395.0, 295.0)
    ]
    sizes = [(60.0, 10.0)] * len(points)
    boxes = [(x, y, x + 60, y + 10) for x, y in label_places(points, sizes, FRAME)]
    marks = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    assert not any(_meet(one, other) for one, other in combinations(boxes, 2))
    assert not any(_meet(box, mark) for box in boxes for mark in marks)
    assert all(box[0] >= 0 and box[1] >= 0 and box[2] <= 400 and box[3] <= 300 for box in boxes)


def test_a_point_alone_has_its_name_at_its_right() -> None:
    ((left, bottom),) = label_places([(100.0, 100.0)], [(50.0, 10.0)], FRAME)
    assert 100 + MARK < left < 110 and bottom == 95.0
