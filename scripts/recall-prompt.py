#!/usr/bin/env python3
"""Print the prompt of traces/recall, for a small model that was trained to retrieve facts from its context.

    scripts/recall-prompt.py [--seed 1] [--tokens 1024] > prompt.txt
    scripts/recall-prompt.py --answer            # the expected answer, and the positions of the headings

The model has no tokenizer: its vocabulary is 256 token ids. A context consists of filler tokens with records at random
positions:

    fact      key value value
    link      key key LINK, and the fact of the second key
    passkey   PK and five values
    examples  key label, four for each key; three of the four labels are equal
    heading   HEAD section value

The question comes last. SUM HEAD asks for the section and value of every heading, in order. The headings are far apart,
so the model has to look up each two tokens of the answer again. A seed gives the same prompt in every version of Python.
"""

import argparse

BOS, Q, LINK, PK, HEAD, SUM, LOOK, FEW = range(8)
KEYS, VALUES, SECTIONS, LABELS, FILLER = range(8, 64), range(64, 128), range(128, 144), range(144, 152), range(152, 256)
FACTS, LINKS, HEADINGS, EXAMPLES, PASSKEY = 12, 3, 8, 3, 5


class Random:
    """SplitMix64. Python's own generator may draw another sample in another version of Python."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        x = self.state
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
        return ((x ^ x >> 31) * n) >> 64

    def choice(self, items):
        return items[self.below(len(items))]

    def shuffled(self, items):
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items


def records(random):
    """Return the records in the order of the context, and the headings among them."""
    keys, values = iter(random.shuffled(KEYS)), iter(random.shuffled(VALUES))
    out = [[next(keys), next(values), next(values)] for _ in range(FACTS)]
    for _ in range(LINKS):
        first, second = next(keys), next(keys)
        out += [[first, second, LINK], [second, next(values), next(values)]]
    out.append([PK] + [next(values) for _ in range(PASSKEY)])
    for _ in range(EXAMPLES):
        key, (most, other) = next(keys), random.shuffled(LABELS)[:2]
        out += [[key, label] for label in [most, most, most, other]]
    out = random.shuffled(out)
    first = random.below(len(SECTIONS) - HEADINGS + 1)
    headings = [[HEAD, section, next(values)] for section in SECTIONS[first:first + HEADINGS]]
    places = sorted(random.below(len(out) + 1) for _ in headings)
    for place, heading in reversed(list(zip(places, headings))):
        out.insert(place, heading)
    return out, headings


def prompt(random, tokens):
    """Return a prompt with the given number of tokens, and its headings with their positions."""
    question = [SUM, HEAD]
    items, headings = records(random)
    free = tokens - len(question) - 1 - sum(map(len, items))
    if free < 0:
        raise SystemExit(f"--tokens: {tokens} are too few, want at least {tokens - free}")
    cuts = sorted(random.below(free + 1) for _ in items)
    out, at, filled = [BOS], [], 0
    for item, cut in zip(items, cuts):
        out += [random.choice(FILLER) for _ in range(cut - filled)]
        filled = cut
        if item in headings:
            at.append(len(out))
        out += item
    out += [random.choice(FILLER) for _ in range(free - filled)]
    return out + question, list(zip(at, headings))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--answer", action="store_true", help="print the answer and the headings' positions instead")
    args = parser.parse_args()
    ids, headings = prompt(Random(args.seed), args.tokens)
    if args.answer:
        print("answer", *(x for _, heading in headings for x in heading[1:]))
        print("at", *(position for position, _ in headings))
        return
    for i in range(0, len(ids), 32):
        print(",".join(map(str, ids[i:i + 32])))


if __name__ == "__main__":
    main()
