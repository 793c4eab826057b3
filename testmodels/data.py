"""The data of the test models: generated here, but for scikit-learn's digits.

Every function returns a dict of splits: "train", "calib" and "test", some
models have more. Calibration samples are training samples, so that the test
split stays unseen. A split is (inputs, labels): inputs maps graph input names
to arrays with a leading sample axis, labels is int64 [S].

Generated signals are rounded to a coarse grid, as a cheap sensor would: it
keeps float32 arrays small once deflated.
"""

import numpy as np


def split_off_calib(splits, samples, suffix=""):
    inputs, labels = splits["train" + suffix]
    splits["calib" + suffix] = {k: v[:samples] for k, v in inputs.items()}, labels[:samples]
    return splits


def digits(name, as_picture):
    """Handwritten digits 8x8 (scikit-learn, BSD-3-Clause; originally UCI, CC BY 4.0)."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    if as_picture:
        x = x.reshape(-1, 1, 8, 8)
    order = np.random.default_rng(1).permutation(len(x))
    x, y = x[order], y[order].astype(np.int64)
    train = len(x) - 597
    return split_off_calib(
        {"train": ({name: x[:train]}, y[:train]), "test": ({name: x[train:]}, y[train:])}, 128
    )


# ---- pictures of shapes -----------------------------------------------------


def triangle_distance(x, y):
    edges = [(np.sin(a), np.cos(a)) for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    return np.maximum.reduce([x * a - y * b for a, b in edges]) - 0.55


# Signed distance to the outline of a shape of radius 1: negative is inside.
SHAPES = {
    "circle": lambda x, y: np.hypot(x, y) - 0.9,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.8,
    "diamond": lambda x, y: (abs(x) + abs(y)) - 1.1,
    "triangle": triangle_distance,
    "cross": lambda x, y: np.maximum(np.minimum(abs(x), abs(y)) - 0.28, np.maximum(abs(x), abs(y)) - 0.95),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.7) - 0.22,
    "bar": lambda x, y: np.maximum(abs(x) - 1.0, abs(y) - 0.33),
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.65 - np.hypot(x - 0.45, y)),
}


def shape_picture(rng, shape, size=32):
    radius = rng.uniform(4.5, 11)
    cx, cy = rng.uniform(radius, size - radius, 2)
    turn = rng.uniform(-0.45, 0.45)
    yy, xx = np.mgrid[:size, :size]
    u, v = (xx - cx) / radius, (yy - cy) / radius
    u, v = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
    inside = np.clip(0.5 - shape(u, v) * radius, 0, 1)  # antialiased over one pixel
    slope = rng.uniform(-0.25, 0.25, 2)
    background = (xx / size - 0.5) * slope[0] + (yy / size - 0.5) * slope[1]
    contrast = rng.uniform(0.3, 0.9) * rng.choice([-1, 1])
    picture = background + contrast * (inside - 0.5) + rng.normal(0, rng.uniform(0.05, 0.26), (size, size))
    return np.clip(np.rint(picture * 8), -8, 7) / 8  # 16 grey levels


def shapes():
    """Pictures x [S, 1, 32, 32]: one shape of eight, turned, shaded, noisy."""

    def draw(seed, samples):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, len(SHAPES), samples)
        kinds = list(SHAPES.values())
        x = np.stack([shape_picture(rng, kinds[k]) for k in y])
        return {"x": x[:, None].astype(np.float32)}, y

    return split_off_calib({"train": draw(2, 8000), "test": draw(3, 320)}, 64)


# ---- character sequences ----------------------------------------------------

PAD, CLS, FIRST_LETTER, LETTERS = 0, 1, 2, 27
LANGUAGES = 6


def languages(length=32):
    """Text of six made-up languages: input_ids and attention_mask [S, 32].

    A language is a Markov chain over 27 characters. The chains share most of
    their letter statistics, so single letters say little and pairs say more.
    """
    rng = np.random.default_rng(4)
    common = rng.dirichlet(np.full(LETTERS, 0.5), LETTERS)
    own = rng.dirichlet(np.full(LETTERS, 0.12), (LANGUAGES, LETTERS))
    chains = (0.5 * common + 0.5 * own).cumsum(-1)

    def write(seed, samples):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, LANGUAGES, samples)
        ids = np.full((samples, length), PAD, np.int64)
        ids[:, 0] = CLS
        letter = rng.integers(0, LETTERS, samples)
        for t in range(1, length):
            ids[:, t] = letter + FIRST_LETTER
            letter = (rng.random((samples, 1)) > chains[y, letter]).sum(-1).clip(max=LETTERS - 1)
        mask = np.arange(length) < rng.integers(14, length + 1, (samples, 1))
        return {"input_ids": ids * mask, "attention_mask": mask.astype(np.int64)}, y

    return split_off_calib({"train": write(5, 24000), "test": write(6, 512)}, 128)


# ---- waveforms --------------------------------------------------------------

# Value of each wave at phase p (in turns); s runs from 0 to 1 over the sample.
WAVES = {
    "sine": lambda p, s: np.sin(2 * np.pi * p),
    "square": lambda p, s: np.sign(np.sin(2 * np.pi * p)),
    "saw": lambda p, s: 2 * (p % 1) - 1,
    "triangle": lambda p, s: 4 * abs((p % 1) - 0.5) - 1,
    "chirp up": lambda p, s: np.sin(2 * np.pi * p * (0.6 + 0.6 * s)),
    "chirp down": lambda p, s: np.sin(2 * np.pi * p * (1.4 - 0.6 * s)),
    "tremolo": lambda p, s: np.sin(2 * np.pi * p) * np.cos(3 * np.pi * s + 0.5),
    "decay": lambda p, s: np.sin(2 * np.pi * p) * np.exp(-4 * s) * 1.4,
}


def waves(frames=40, frame=4):
    """Waveforms x [S, 40, 4]: 160 samples in frames of four, with noise."""

    def play(seed, samples):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, len(WAVES), samples)
        kinds = list(WAVES.values())
        s = np.arange(frames * frame) / (frames * frame)
        x = np.empty((samples, len(s)))
        for i, k in enumerate(y):
            phase = rng.uniform(4, 14) * s + rng.uniform(0, 1)
            x[i] = rng.uniform(0.3, 1.2) * kinds[k](phase, s) + rng.normal(0, rng.uniform(0.02, 0.3), len(s))
        x = np.rint(x * 32) / 32
        return {"x": x.reshape(samples, frames, frame).astype(np.float32)}, y

    return split_off_calib({"train": play(7, 8000), "test": play(8, 400)}, 96)


# ---- melodies, chunk by chunk -----------------------------------------------

# Direction of pitch from the first note to the second and on to the third.
CONTOURS = [(0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1)]
CHUNKS = 12


def melodies():
    """Three notes in chunks of 8 ms: chunk [S, 12, 8 ms * rate], rate [S].

    The label is the contour, known only after the last chunk. The splits whose
    names end in -16k are sampled at 16 kHz, the others at 8 kHz.
    """

    def play(seed, samples, rate):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, len(CONTOURS), samples)
        length = CHUNKS * rate // 125
        x = np.empty((samples, length))
        for i, k in enumerate(y):
            steps = rng.uniform(1.12, 1.5, 2) ** CONTOURS[k]
            notes = rng.uniform(700, 1300) * np.cumprod([1, *steps])
            cuts = (length * (np.array([1, 2]) / 3 + rng.uniform(-0.06, 0.06, 2))).astype(int)
            hertz = np.repeat(notes, np.diff([0, *cuts, length]))
            tone = np.sin(2 * np.pi * (np.cumsum(hertz) / rate + rng.uniform()))
            x[i] = rng.uniform(0.15, 0.9) * tone + rng.normal(0, rng.uniform(0.01, 0.3), length)
        chunks = (np.rint(x * 32) / 32).reshape(samples, CHUNKS, -1)
        return {"chunk": chunks.astype(np.float32), "rate": np.full(samples, rate, np.int64)}, y

    low = split_off_calib({"train": play(9, 6000, 8000), "test": play(10, 256, 8000)}, 64)
    high = split_off_calib({"train-16k": play(11, 6000, 16000), "test-16k": play(12, 64, 16000)}, 16, "-16k")
    return low | high
