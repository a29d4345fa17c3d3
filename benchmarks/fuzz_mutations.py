"""Ways to spoil a file, each drawn from a ``random.Random``, so that a seed is a file."""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Callable
from itertools import pairwise
from random import Random

_EXTREMES = (0, 1, -1, 2, 3, 7, 8, 127, 255, 1024, 65535, 65536, 2**31 - 1, -(2**31), 2**30)
_FLOATS = (float("nan"), float("inf"), 1e-45, 3e38, -1.0)
# Words of an MRC header that are read.
_WORDS = (0, 1, 2, 3, 7, 9, 10, 16, 17, 18, 22, 23, 52, 53)
_HOSTILE = (
    "nan -inf 1e400 -1e308 1e-400 0 -0 -1 2 99999999999999999999 1e300 0x10 1_000 1e ٣ ² ½ é 𝟙 "
    '\ufeff None "" " \' # @ 0@ 1@ -1@particles.mrcs 1@particles.mrcs 7@particles.mrcs '
    "1@nowhere.mrcs 1@.. 1@/ 1@/dev/null 1@~ 1@. 000001@other.mrcs 1@a@b ١@particles.mrcs "
    "9999999999999999999999@particles.mrcs data_ data_x loop_ stop_ _ _rlnImageName _rlnVoltage "
    "- : -- ? & &a *a <<: !!python/object:os.system [[ {{ | > ~ 'a\\0b' \"\\0\" 1:1 "
    "[1,0,1] $ {} % {0} \x1c \x85 \u2028 \x0b \x00 ../../../etc/passwd"
).split(" ") + ["9" * 5000, f"1@{'x' * 300}.mrcs", f"1@{'y/' * 3000}.mrcs", f"{'9' * 5000}@a.mrcs"]
_TYPES = ("|O", "O", "O8", "<U9", "|S0", "<M8[s]", "<f2", ">c8", "|b1", "<U99999999", "|V0", "V8")
_SHAPES = ("10**9", "(9999999999,)", "(-1,)", "()", "(6,6)", "(0,)", "(5,)", "(1,)", "6", "(6.0,)")
_DICTS = (
    "{}",
    "[]",
    "None",
    "__import__('os').system('true')",
    "(" * 300 + ")" * 300,
    "-" * 3000 + "1",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (6,)}",
    "{'descr': [('uid', '<u8'), ('uid', '<u8')], 'fortran_order': False, 'shape': (6,)}",
    "{'descr': [('uid', '<u8', (2,))], 'fortran_order': False, 'shape': (6,)}",
    "{'descr': [], 'fortran_order': False, 'shape': (999999999999,)}",
    "{'descr': '\\d', 'fortran_order': 1 is 1, 'shape': (6,)}",
)
# Pickles that ask for memory, for objects or for code; SENTINEL stands for a file not to be made.
_SNIPPETS = [
    b"cposix\nsystem\n(S'touch SENTINEL'\ntR.",
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0etouch SENTINEL\x85R.",
    b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x1dopen('SENTINEL', 'w').close()\x85R.",
    b"(S'touch SENTINEL'\nios\nsystem\n.",
    b"cnumpy\nndarray\n(S'x'\ncos\nsystem\no.",
    b"cnumpy\ndtype\n(S'O'\ntR}(S'x'\nNub.",
    b"cnumpy\nndarray\n(J" + b"\xff\xff\xff\x7f" + b"tR.",
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(Jxxx\x7ftC\x01btR.",
    b"\x80\x02cnumpy\nndarray\n\x81.",
    b"PsomeID\n.",
    b"NQ.",
    b"\x82\x01.",
    b"\x80\x04N\x97.",
    b"\x80\x04r\xff\xff\xff\x7f.",
    b"\x80\x04Nr\xff\xff\xff\x7f.",
    b"\x80\x04Np2147483647\n.",
    b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    b"\x80\x04\x8e\xff\xff\xff\x7f\x00\x00\x00\x00N.",
    b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    b"\x80\x04\x8d\xff\xff\xff\x7f\x01\x00\x00\x00N.",
    b"\x80\x05\x96\xff\xff\xff\x7f\x01\x00\x00\x00N.",
    b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    b"\x80\x02\x8b\xff\xff\xff\xffx.",
    b"I" + b"9" * 20000 + b"\n.",
    b"]\x94" + b"]\x94(h\x00h\x00e" * 40 + b".",
    b"\x80\x04K\x00" + b"\x94h\x00h\x00\x86" * 60 + b".",
    b"]" + b"]" * 5000 + b"a" * 5000 + b".",
    b"N" + b"\x85" * 50000 + b".",
    b"(" * 50000 + b".",
    b"\x80\x04]\x94h\x00a.",
    b"\x80\x04\x8f(K\x01]\x90.",
    b"\x80\x02}(K\x01]]K\x01u.",
]


def mutate(kind: str, random: Random, bases: list[bytes]) -> bytes:
    """A valid file of ``bases``, spoiled in one to three places."""
    raw = random.choice(bases)
    special = _OF_KIND[kind]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if random.random() < 0.7:
            raw = special(random, raw)
        else:
            raw = _bytes(random, raw, random.choice(bases))
    return raw


def _bytes(random: Random, raw: bytes, other: bytes) -> bytes:
    """Bits, pieces and ends of any file."""
    if not raw:
        return other
    at = random.randrange(len(raw))
    piece = raw[at : at + random.choice((1, 4, 40, 400))]
    spoilt = bytearray(raw)
    match random.randrange(7):
        case 0:
            for _ in range(random.choice((1, 2, 8, 64))):
                spoilt[random.randrange(len(raw))] ^= 1 << random.randrange(8)
        case 1:
            return raw[:at]
        case 2:
            return raw[:at] + piece * random.choice((2, 3, 50)) + raw[at + len(piece) :]
        case 3:
            return raw[:at] + raw[at + len(piece) :]
        case 4:
            return raw[:at] + random.randbytes(random.choice((1, 8, 100))) + raw[at:]
        case 5:
            return raw[:at] + other[random.randrange(len(other) + 1) :]
        case _:
            spoilt[at : at + 8] = random.choice((b"\0", b"\xff", b"\x7f", b" ")) * 8
    return bytes(spoilt)


def _mrc_words(random: Random, raw: bytes) -> bytes:
    """Lies in the header, above all in the words that are read; data that are no numbers."""
    if len(raw) <= 1028:
        return raw
    spoilt, order = bytearray(raw), random.choice("<>")
    if random.random() < 0.1:
        at = random.randrange(1024, len(raw) - 3)
        spoilt[at : at + 4] = struct.pack(f"{order}f", random.choice(_FLOATS))
        return bytes(spoilt)
    word = random.choice((*_WORDS, *_WORDS, random.randrange(256)))
    value = random.choice((*_EXTREMES, random.randrange(-(2**31), 2**31), 80, 6, 12, 101))
    word_bytes = struct.pack(f"{order}i", value)
    if word == 10 and random.random() < 0.5:
        word_bytes = struct.pack(f"{order}f", random.choice(_FLOATS))
    spoilt[4 * word : 4 * word + 4] = word_bytes
    return bytes(spoilt)


def _text(random: Random, raw: bytes) -> bytes:
    """Words, lines, columns and ends of lines of a text."""
    lines = raw.decode("utf-8", "surrogateescape").split("\n")
    at = random.randrange(len(lines))
    hostile = random.choice(_HOSTILE)
    match random.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            # Most lines that matter have several words.
            at = random.choice([i for i, line in enumerate(lines) if len(line.split()) > 2] or [at])
            words = re.split(r"(\s+)", lines[at])
            # Every second is white space.
            at_word = random.randrange(len(words))
            words[at_word // 2 * 2 if random.random() < 0.9 else at_word] = hostile
            lines[at] = "".join(words)
        case 5:
            lines.insert(random.randrange(len(lines)), lines[at])
        case 6:
            del lines[at]
        case 7:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 8:
            choices = (hostile, hostile * 500, f"{hostile} " * 500, f'"{lines[at]}', f"_{hostile}")
            lines[at] = random.choice(choices)
        case 9:
            lines[at] = lines[at].replace(" ", random.choice(("\t", "", "\x1f", "\u3000", "  ")))
        case 10:
            column = random.randrange(12)
            lines = [
                " ".join(w[:column] + w[column + 1 :]) if len(w := line.split()) > 5 else line
                for line in lines
            ]
        case _:
            old = random.choice(("_rln", "data_", "loop_", "#", "@", "000001", "Angst", "300", ","))
            lines = "\n".join(lines).replace(old, hostile).split("\n")
    ending = random.choice(("\n",) * 7 + ("\r\n", "\r\n", "\r"))
    return ending.join(lines).encode("utf-8", "surrogateescape")


def _npy(random: Random, raw: bytes) -> bytes:
    """The header of a NumPy file: types, shapes, names, versions and lengths."""
    end = raw.find(b"\n", 10) + 1
    if not raw.startswith(b"\x93NUMPY") or not end:
        return raw
    header, spoilt = raw[10:end].decode("latin-1"), bytearray(raw)
    match random.randrange(8):
        case 0:
            at = random.choice([m.start() for m in re.finditer("'[<|>]", header)] or [0])
            stop = header.find("'", at + 1) + 1
            header = f"{header[:at]}'{random.choice(_TYPES)}'{header[stop:]}"
        case 1 | 2:
            header = re.sub(r"\(\d+,\), \}", f"{random.choice(_SHAPES)}, }}", header)
        case 3:
            names = re.findall(r"'(\w+/\w+|uid)'", header) or ["uid"]
            old, new = random.choice(names), random.choice((*names, "", "a\\0", "blob/x", "é"))
            header = header.replace(f"'{old}'", f"'{new}'")
        case 4:
            header = random.choice(_DICTS)
        case 5:
            spoilt[random.choice((6, 7))] = random.choice((0, 1, 2, 3, 4, 255))
            return bytes(spoilt)
        case 6:
            spoilt[8:10] = struct.pack("<H", random.choice((0, 1, 10, 65535, end, end - 11)))
            return bytes(spoilt)
        case _:
            at = random.randrange(end, len(raw)) if end < len(raw) else end
            spoilt[at : at + 4] = struct.pack("<f", random.choice(_FLOATS))
            return bytes(spoilt)
    text = header.rstrip().encode("utf-8")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return raw[:8] + struct.pack("<H", min(len(text), 65535)) + text + raw[end:]


def _opcodes(random: Random, raw: bytes) -> bytes:
    """Other opcodes, other lengths, and hostile pickles before, in and behind."""
    snippet = random.choice(_SNIPPETS)
    if not raw:
        return snippet
    try:
        places = [at for _, _, at in pickletools.genops(raw) if at is not None]
    except ValueError:
        places = list(range(len(raw) + 1))
    at = random.choice(places)
    match random.randrange(9):
        case 0 | 1 | 2:
            # Numbers stand in the longest piece.
            start, end = max(pairwise([*places, len(raw)]), key=lambda p: p[1] - p[0])
            number = struct.pack(random.choice(("<d", "<f")), random.choice((*_FLOATS, 1e9, 0)))
            at = random.randrange(start, end)
            return raw[:at] + number + raw[at + len(number) :]
        case 3 | 4:
            code = random.choice(pickletools.opcodes).code.encode("latin-1")
            return raw[:at] + code + raw[at + 1 :]
        case 5:
            lie = struct.pack("<i", random.choice(_EXTREMES)) + random.choice((b"", b"\0\0\0\0"))
            return raw[: at + 1] + lie + raw[at + 1 + len(lie) :]
        case 6:
            return raw[:at] + snippet[:-1] + raw[at:]
        case 7:
            return random.choice((snippet, raw + snippet, snippet + raw))
        case _:
            other = random.choice(places)
            return raw[:at] + raw[other : other + random.choice((1, 2, 10))] + raw[at:]


_OF_KIND: dict[str, Callable[[Random, bytes], bytes]] = {
    "star": _text,
    "txt": _text,
    "csg": _text,
    "mrcs": _mrc_words,
    "mrc": _mrc_words,
    "cs": _npy,
    "pkl": _opcodes,
}
