"""Titles as MovieLens writes them, made of common words. Knows words and years, not movies.

Articles stand at the end ("Harbor of the Crow, The (1998)"), some titles carry a second one
("a.k.a."), some come again in another year, and a few have no year.
"""

# ruff: noqa: SIM905 - words in running text are read and added to more easily than a list of
# strings

import numpy as np

_ADJECTIVES = (
    "Amber Ancient Blind Bitter Bright Broken Burning Careless Crimson Crooked Distant Drowned Empty Endless Faithful "
    "Fallen Feral Final Foolish Forgotten Frozen Gentle Gilded Golden Hidden Hollow Hungry Idle Invisible Iron Jealous "
    "Lonely Lucky Midnight Narrow Nameless Northern Obedient Painted Pale Patient Quiet Ragged Reluctant Restless Rusty "
    "Sacred Scarlet Secret Shattered Silent Silver Sleeping Solitary Southern Stolen Strange Stubborn Tender Thirsty "
    "Timid Twisted Uncertain Unlikely Unwritten Velvet Wandering Wayward Weeping Whispering Wicked Wild Winter Wooden"
).split()
_NOUNS = (
    "Accountant Anchor Apprentice Archive Armada Ballad Balloon Bandit Barber Beekeeper Bell Bicycle Bridge Butcher "
    "Canary Candle Caravan Carousel Cartographer Cathedral Chimney Circus Clockmaker Comet Compass Conductor Courier "
    "Crow Daughter Debt Desert Detective Diver Dynasty Echo Embassy Engine Envelope Experiment Falcon Farewell Ferry "
    "Fiddler Forest Fortune Fugitive Funeral Garden Gardener General Ghost Glacier Gramophone Harbor Harvest Heiress "
    "Highway Horizon Horse Hospital Hotel Inheritance Inspector Island Juggler Kingdom Kite Labyrinth Lantern Letter "
    "Librarian Lighthouse Locksmith Magician Mansion Masquerade Mechanic Meridian Messenger Mirror Monsoon Mountain "
    "Museum Neighbor Notebook Oath Observatory Orchard Orchestra Outlaw Painter Parade Passenger Pharmacist Photograph "
    "Pilgrim Pilot Planet Postman Prophet Province Puppet Quarry Railway Recipe Regiment Republic Rider River Robot "
    "Rooster Sailor Saxophone Scarecrow Sculptor Shepherd Signal Smuggler Snowfall Soldier Sparrow Station Stranger "
    "Surgeon Tailor Telegram Tempest Theorem Tiger Tournament Tower Translator Treaty Trumpet Tunnel Umbrella "
    "Valley Verdict Village Violin Volcano Voyage Waltz Wedding Weaver Whale Widow Window Witness Wolf Zeppelin"
).split()
_PLACES = (
    "Aldermoor Bellavista Brackwater Carradine Castellane Dunmarrow Eastholm Ferrante Fogport Glenharrow Halvorsen "
    "Isenberg Kestrelbay Kirovka Lindqvist Marenco Montclair Nakatomo Oakhurst Palermont Pemberley Quintana "
    "Ravensholt Rosales Sablewood Odilia Silvermere Tamarind Thornbury Umbria Valparaiso Vandermeer "
    "Westerling Yarrow Zamora"
).split()
_FOREIGN = (
    "Le:Jardin Le:Voyageur Le:Silence La:Rivière La:Moisson La:Promesse Les:Voisins L':Horloger L':Étoile El:Relojero "
    "El:Puente La:Cosecha Los:Hermanos Il:Giardino Il:Treno La:Lettera Der:Gärtner Der:Brief Die:Brücke Das:Dorf"
).split()

_THE, _A = 0.24, 0.06  # of the titles have this article
_SECOND_NAME, _FOREIGN_SHARE, _WITHOUT_YEAR, _REMADE = 0.05, 0.03, 0.007, 0.5


def make_titles(years: np.ndarray, random: np.random.Generator) -> list[str]:
    """A title for each year, no two alike; a name comes again as a remake of another year or as a
    numbered sequel.

    Args:
        years: int (N,), the year that ends each title, except the few titles that have none.
    """
    seen: set[str] = set()
    parts: dict[str, int] = {}
    titles = []
    dice = random.random((len(years), 3))
    words = random.integers(0, 1 << 30, (len(years), 5)).tolist()
    for year, (foreign, second, other), numbers in zip(
        years.tolist(), dice.tolist(), words, strict=True
    ):
        name = _foreign_name(numbers) if foreign < _FOREIGN_SHARE else _name(numbers)
        if name in parts and other > _REMADE:
            parts[name] += 1
            name = _numbered(name, parts[name])
        parts.setdefault(name, 1)
        if second < _SECOND_NAME:
            name = f"{name} (a.k.a. {_name(numbers[::-1])})"
        title = name if other < _WITHOUT_YEAR else f"{name} ({year})"
        while title in seen:
            parts[name] += 1
            title = f"{_numbered(name, parts[name])} ({year})"
        parts.setdefault(name, 1)
        seen.add(title)
        titles.append(title)
    return titles


def _name(numbers: list[int]) -> str:
    pattern, adjective, noun, other, article = numbers
    first, second = _NOUNS[noun % len(_NOUNS)], _NOUNS[other % len(_NOUNS)]
    quality = _ADJECTIVES[adjective % len(_ADJECTIVES)]
    place = _PLACES[(adjective >> 8) % len(_PLACES)]
    name = (
        f"{quality} {first}", f"{first} of {place}", f"{first} of the {second}", f"{quality} {first} of {place}",
        f"{first} and the {quality} {second}", f"{quality} {first}: {second} of {place}",
    )[pattern % 6]  # fmt: skip
    share = article / (1 << 30)
    if share < _THE:
        return f"{name}, The"
    if share < _THE + _A:
        return f"{name}, {'An' if name[0] in 'AEIOU' else 'A'}"
    return name


def _foreign_name(numbers: list[int]) -> str:
    article, noun = _FOREIGN[numbers[0] % len(_FOREIGN)].split(":")
    return f"{noun} de {_PLACES[numbers[1] % len(_PLACES)]}, {article}"


def _numbered(name: str, number: int) -> str:
    """The sequel of a name; the number stands before an article at the end ("Ferry 2, The")."""
    stem, comma, article = name.partition(", ")
    return f"{stem} {number}{comma}{article}"
