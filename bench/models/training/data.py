"""What the recall models are trained on: contexts of filler with records in them, and questions about the records.

The vocabulary of 256 token ids, the records and the questions are those of package bench/task of this repository.
"""

import dataclasses

BOS, Q, LINK, PK, HEAD, SUM, LOOK, FEW = range(8)
KEYS, VALUES, SECTIONS = range(8, 64), range(64, 128), range(128, 144)
LABELS, FILLER = range(144, 152), range(152, 256)
CATEGORIES = ("sqa", "mqa", "sum", "few", "syn", "code", "needle")


@dataclasses.dataclass
class Counts:
    """How many records of each kind a context has."""

    facts: int
    links: int
    sections: int
    examples: int
    digits: int  # of the passkey


@dataclasses.dataclass
class Prompt:
    """A context and questions about it."""

    tokens: list
    targets: list  # (index of the token that is learnt, weight)
    question_end: int = 0


def filler(rng, n):
    return [FILLER[0] + int(rng.random() * len(FILLER)) for _ in range(n)]


def context(rng, length, counts, copies):
    """Return the tokens of a context and its records, or None where they do not fit. copies are the fewest and the
    most examples of one key."""
    keys = iter(rng.sample(KEYS, counts.facts + 2 * counts.links + counts.examples))
    values = iter(rng.sample(VALUES, 2 * counts.facts + 2 * counts.links + counts.digits + counts.sections))
    items, world = [], {}
    world["facts"] = [(next(keys), next(values), next(values)) for _ in range(counts.facts)]
    items += [list(f) for f in world["facts"]]
    world["links"] = [(next(keys), next(keys), next(values), next(values)) for _ in range(counts.links)]
    for a, b, c, d in world["links"]:
        items += [[a, b, LINK], [b, c, d]]
    world["passkey"] = [next(values) for _ in range(counts.digits)]
    if counts.digits:
        items.append([PK] + world["passkey"])
    world["examples"] = []
    for _ in range(counts.examples):
        key, n = next(keys), rng.randint(*copies)
        most = n // 2 + 1
        right, wrong = rng.sample(LABELS, 2)
        others = [wrong] + [label for label in LABELS if label != right]
        items += [[key, label] for label in [right] * most + [rng.choice(others) for _ in range(n - most)]]
        world["examples"].append((key, right))
    rng.shuffle(items)
    free = length - 1 - sum(map(len, items)) - 3 * counts.sections
    if free < 0:
        return None, None
    first = rng.randint(0, len(SECTIONS) - counts.sections) if counts.sections else 0
    world["sections"] = [(SECTIONS[0] + first + i, next(values)) for i in range(counts.sections)]
    places = sorted(rng.randint(0, len(items)) for _ in range(counts.sections))
    if places:
        places[0] = 0
    for place, section in reversed(list(zip(places, world["sections"]))):
        items.insert(place, [HEAD, *section])
    tokens, done = [BOS], 0
    for item, cut in zip(items, sorted(rng.randint(0, free) for _ in items)):
        tokens += filler(rng, cut - done) + item
        done = cut
    return tokens + filler(rng, free - done), world


def question(rng, category, world, i=0):
    """Return the question about record number i of its kind, and the answer: tokens, each with whether it is learnt."""
    if category == "sqa":
        key, a, b = world["facts"][i]
        return [Q, key], [(a, 1), (b, 1)]
    if category == "mqa":
        key, second, a, b = world["links"][i]
        return [Q, key], [(second, 1), (a, 1), (b, 1)]
    if category == "needle":
        return [PK], [(digit, 1) for digit in world["passkey"]]
    if category == "sum":
        return [SUM, HEAD], [(token, 1) for section in world["sections"] for token in section]
    if category == "few":
        key, label = world["examples"][i]
        return [FEW, key], [(label, 1)]
    if category == "syn":
        key, a, _ = world["facts"][i]
        return [LOOK, a], [(key, 1)]
    # Three lines that begin with the same three tokens, and name a key each.
    gram, facts = rng.sample(FILLER, 3), world["facts"][i : i + 3]
    answer = [(facts[0][1], 1), (facts[0][2], 1)]
    for key, a, b in facts[1:]:
        answer += [(gram[0], 0), (gram[1], 1), (gram[2], 1), (key, 0), (a, 1), (b, 1)]
    return gram + [facts[0][0]], answer


def training_prompt(rng, length):
    """Return a context and as many questions as fit behind it."""
    weights = {"syn": 2.0, "code": 2.0, "few": 1.5}
    size = length / 64
    while True:
        counts = Counts(
            facts=max(1, min(12, int(size * (1 + 2 * rng.random())))),
            links=min(4, int(size * rng.random() * 0.9)),
            sections=min(8, int(size * 1.5 * rng.random() + 0.6)),
            examples=min(4, int(size * rng.random() * 0.9)),
            digits=rng.choice([0, 3, 4, 5, 5] if length <= 64 else [0, 4, 5, 6, 7]),
        )
        room = int(length * (rng.uniform(0.5, 0.8) if length <= 128 else rng.uniform(0.65, 0.92)))
        tokens, world = context(rng, room, counts, (1, 3) if length <= 64 else (2, 5))
        if tokens is None:
            continue
        asked = [("sqa", i) for i in range(counts.facts)] + [("syn", i) for i in range(counts.facts)]
        asked += [("mqa", i) for i in range(counts.links)] + [("few", i) for i in range(counts.examples)]
        asked += [("needle", 0)] * (counts.digits > 0) + [("sum", 0)] * (counts.sections > 0)
        if counts.facts >= 3 and rng.random() < 0.6:
            asked.append(("code", rng.randint(0, counts.facts - 3)))
        rng.shuffle(asked)
        prompt = Prompt(tokens, [])
        for category, i in asked:
            ask, answer = question(rng, category, world, i)
            if len(tokens) + len(ask) + len(answer) > length:
                continue
            tokens += ask
            for token, learnt in answer:
                if learnt:
                    prompt.targets.append((len(tokens), weights.get(category, 1.0)))
                tokens.append(token)
        if len(prompt.targets) < 2:
            continue
        tokens += filler(rng, length - len(tokens))
        return prompt


def copying_prompt(rng, length):
    """Return random tokens that are repeated once."""
    n = rng.randint(6, length // 2 - 1)
    low = rng.choice([KEYS[0], KEYS[0], VALUES[0], FILLER[0]])
    high = 64 if low == KEYS[0] and rng.random() < 0.5 else 256
    block = [rng.randrange(low, high) for _ in range(n)]
    tokens = [BOS] + filler(rng, length - 1 - 2 * n)
    first = len(tokens) + n
    return Prompt(tokens + block + block, [(at, 1.0) for at in range(first + 1, length)])


def example(rng, length, category):
    """Return a context with records of all kinds, of a total length, and one question at its end."""
    size = length / 128
    counts = Counts(
        facts=min(12, max(4, int(4 * size))),
        links=min(3, max(1, int(size))),
        sections=min(8, max(2, int(2 * size))),
        examples=min(3, max(1, int(size))),
        digits=5,
    )
    asked = {"sqa": 4, "mqa": 5, "sum": 2 + 2 * counts.sections, "few": 3, "syn": 3, "code": 18, "needle": 6}
    tokens, world = context(rng, length - asked[category], counts, (3, 5))
    ask, answer = question(rng, category, world)
    prompt = Prompt(tokens + ask, [], len(tokens) + len(ask))
    for token, learnt in answer:
        if learnt:
            prompt.targets.append((len(prompt.tokens), 1.0))
        prompt.tokens.append(token)
    return prompt


def positions(rng, length, highest):
    """Return ascending positions below highest that jump at one to four random places, or 0 to length−1."""
    if highest <= length:
        return list(range(length))
    cuts = sorted(rng.sample(range(1, length), rng.randint(1, 4)))
    jumps = sorted(rng.randint(0, highest - length) for _ in cuts)
    out, by = [], 0
    for i in range(length):
        while cuts and i >= cuts[0]:
            cuts, by, jumps = cuts[1:], jumps[0], jumps[1:]
        out.append(i + by)
    return out
