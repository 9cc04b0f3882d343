# SPDX-License-Identifier: Apache-2.0
"""AES-128 encryption (FIPS 197) and CMAC (SP 800-38B), the plain way: the tests' second opinion."""


def _xtime(a):
    return ((a << 1) ^ (0x11B if a & 0x80 else 0)) & 0xFF


def _multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = _xtime(a)
        b >>= 1
    return product


def _make_sbox():
    def rotated(x, n):
        return ((x << n) | (x >> (8 - n))) & 0xFF

    box = []
    for value in range(256):
        inverse = next((i for i in range(256) if _multiply(value, i) == 1), 0)
        box.append(inverse ^ rotated(inverse, 1) ^ rotated(inverse, 2) ^ rotated(inverse, 3)
                   ^ rotated(inverse, 4) ^ 0x63)
    return box


_SBOX = _make_sbox()
_DOUBLE = [_xtime(i) for i in range(256)]


def _expand(key):
    words = [list(key[i:i + 4]) for i in range(0, 16, 4)]
    rcon = 1
    for i in range(4, 44):
        word = list(words[i - 1])
        if i % 4 == 0:
            word = [_SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon = _xtime(rcon)
        words.append([a ^ b for a, b in zip(words[i - 4], word)])
    return [sum(words[i:i + 4], []) for i in range(0, 44, 4)]


def encryptor(key):
    """A function that encrypts one 16-byte block."""
    assert len(key) == 16
    schedule = _expand(key)

    def encrypt(block):
        state = [a ^ b for a, b in zip(block, schedule[0])]
        for round_number in range(1, 11):
            state = [_SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
            if round_number < 10:
                mixed = []
                for c in range(0, 16, 4):
                    column = state[c:c + 4]
                    total = column[0] ^ column[1] ^ column[2] ^ column[3]
                    for i in range(4):
                        mixed.append(column[i] ^ total ^ _DOUBLE[column[i] ^ column[(i + 1) % 4]])
                state = mixed
            state = [a ^ b for a, b in zip(state, schedule[round_number])]
        return bytes(state)

    return encrypt


def cmac(key, message):
    encrypt = encryptor(key)

    def doubled(block):
        number = int.from_bytes(block, "big") << 1
        if number >> 128:
            number = (number & ((1 << 128) - 1)) ^ 0x87
        return number.to_bytes(16, "big")

    subkey = doubled(encrypt(bytes(16)))
    blocks = [message[i:i + 16] for i in range(0, len(message), 16)] or [b""]
    last = blocks.pop()
    if len(last) < 16:
        last = last + b"\x80" + bytes(15 - len(last))
        subkey = doubled(subkey)
    state = bytes(16)
    for block in blocks:
        state = encrypt(bytes(a ^ b for a, b in zip(state, block)))
    return encrypt(bytes(a ^ b ^ c for a, b, c in zip(state, last, subkey)))
