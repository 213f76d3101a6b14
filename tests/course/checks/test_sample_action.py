"""The check of `sample_action`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import numpy as np
import torch
from estimates_testing import check_the_check, complaint
from gaussians_testing import every_known_mistake_is_named
from seeds import SEEDS

from ppo_course import check_sample_action
from ppo_course.nb05_continuous.gaussians import cases
from ppo_course.nb05_continuous.sample_action import PARTS, formula

# ------------------------------------------------------------------------------- right answers


def by_clamp(mean, log_std, noise, low, high):
    action = mean + log_std.exp() * noise
    return action, torch.clamp(action, low, high)


def by_min_and_max(mean, log_std, noise, low, high):
    action = torch.addcmul(mean, torch.exp(log_std), noise)
    return [action, torch.min(torch.max(action, low), high)]


def by_where(mean, log_std, noise, low, high):
    action = noise * torch.exp(log_std)[None, :] + mean
    sent = torch.where(action > high, high, action)
    return action, torch.where(sent < low, low, sent)


def by_numpy(mean, log_std, noise, low, high):
    action = mean.numpy() + np.exp(log_std.numpy()) * noise.numpy()
    return torch.tensor(action), torch.tensor(np.clip(action, low.numpy(), high.numpy()))


def by_loop(mean, log_std, noise, low, high):
    action, sent = torch.empty_like(mean), torch.empty_like(mean)
    for n in range(len(mean)):
        for d in range(len(log_std)):
            action[n, d] = mean[n, d] + log_std[d].exp() * noise[n, d]
            sent[n, d] = max(min(action[n, d], high[d]), low[d])
    return action, sent


RIGHT = [by_clamp, by_min_and_max, by_where, by_numpy, by_loop]

# ------------------------------------------------------------------------------- wrong answers


def clipping(action, low, high):
    return action, action.clamp(low, high)


def clamped_in_place(mean, log_std, noise, low, high):
    action = mean + log_std.exp() * noise
    sent = action.clamp_(low, high)
    return action, sent


def of_its_own_noise(mean, log_std, noise, low, high):
    return clipping(mean + log_std.exp() * torch.randn_like(mean), low, high)


def stub(mean, log_std, noise, low, high):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def tanh(mean, log_std, noise, low, high):
    action = mean + log_std.exp() * noise
    return action, low + (high - low) * (action.tanh() + 1) / 2


def writing(mean, log_std, noise, low, high):
    noise *= log_std.exp()
    return clipping(mean + noise, low, high)


WRONG = {
    clamped_in_place: "kept-clipped",
    of_its_own_noise: "noise-of-its-own",
    tanh: "sent-squashed",
    writing: "changes-argument",
    stub: "not-written",
    lambda m, s, z, lo, hi: by_clamp(m, s, z, lo, hi)[::-1]: "order",
    lambda m, s, z, lo, hi: (m + s.exp() * z,) * 2: "not-clipped",
    lambda m, s, z, lo, hi: clipping(m + s * z, lo, hi): "scaled-by-log-std",
    lambda m, s, z, lo, hi: clipping(m + (2 * s).exp() * z, lo, hi): "scaled-by-variance",
    lambda m, s, z, lo, hi: clipping(m + z, lo, hi): "not-scaled",
    lambda m, s, z, lo, hi: clipping(m, lo, hi): "no-noise",
    lambda m, s, z, lo, hi: clipping(s.exp() * z, lo, hi): "mean-missing",
    lambda m, s, z, lo, hi: clipping(m.clamp(lo, hi) + s.exp() * z, lo, hi): ("mean-clipped"),
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, -hi, hi): "minus-high",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, None, hi): "low-missing",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, lo, None): "high-missing",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, -1, 1): "bounds-of-1",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, -2, 2): "bounds-of-2",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, lo.min(), hi.max()): "one-bound",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, lo[0], hi[0]): "one-bound",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, lo[-1], hi[-1]): "one-bound",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, lo.item(), hi.item()): "no-item",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z.clamp(lo, hi), lo, hi): "noise-clipped",
    lambda m, s, z, lo, hi: clipping(m + (s.exp() * z).clamp(lo, hi), lo, hi): (
        "scaled-noise-clipped"
    ),
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z.tanh(), lo, hi): "noise-squashed",
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z.sign(), lo, hi): "noise-sign",
    lambda m, s, z, lo, hi: (m + s.exp() * z, (m + s.exp() * z).tanh()): "sent-squashed-to-1",
    lambda m, s, z, lo, hi: (
        m + s.exp() * z,
        hi * (m + s.exp() * z).tanh(),
    ): "sent-squashed-by-high",
    lambda m, s, z, lo, hi: ((m + s.exp() * z).tanh(), (m + s.exp() * z).clamp(lo, hi)): (
        "kept-squashed"
    ),
    lambda m, s, z, lo, hi: clipping(m + s.exp() * z, hi, lo): "bounds-exchanged",
    lambda m, s, z, lo, hi: (m + s.exp() * z, m.clamp(lo, hi)): "sent-mean",
    lambda m, s, z, lo, hi: (m + s.exp() * z, z.clamp(lo, hi)): "sent-noise",
    lambda m, s, z, lo, hi: (m + s.exp() * z, m + s.exp() * z.clamp(lo, hi)): (
        "sent-noise-clipped"
    ),
    lambda m, s, z, lo, hi: (m + s.exp() * z, m + (s.exp() * z).clamp(lo, hi)): (
        "sent-scaled-clipped"
    ),
    lambda m, s, z, lo, hi: (m + s.exp() * z, m.clamp(lo, hi) + s.exp() * z): ("sent-mean-clipped"),
    lambda m, s, z, lo, hi: clipping(m + s.clamp(-20, 2).exp() * z, lo, hi): "std-limited",
    lambda m, s, z, lo, hi: clipping(m + (s.exp() + 1e-8) * z, lo, hi): "std-limited",
    lambda m, s, z, lo, hi: m + s.exp() * z: "not-two",
    lambda m, s, z, lo, hi: clipping((m + s.exp() * z).sum(-1), -2, 2): "wrong-shape",
    lambda m, s, z, lo, hi: None: "returns-nothing",
    lambda m, s, z, lo, hi: (m + s.exp() * z, 1.0): "no-tensor",
    lambda m, s, z, lo, hi: clipping(m + s.log() * z, lo, hi): "not-finite",
    lambda m, s, z: None: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_sample_action, None, RIGHT, WRONG)


def test_every_known_mistake_is_named():
    every_known_mistake_is_named(PARTS, formula)


def test_the_cases_lead_beyond_both_bounds_in_every_component():
    for seed in (None, *SEEDS):
        for case in cases(seed):
            action, _ = by_clamp(case.mean, case.log_std, case.noise, case.low, case.high)
            assert (action > case.high).any(0).all()
            assert (action < case.low).any(0).all()
            assert (case.mean > case.high).any(0).all()


def test_two_mistakes_are_told_together():
    message = complaint(check_sample_action, lambda m, s, z, lo, hi: (m + s * z,) * 2)
    assert "2 things" in message
    assert "scaled by log_std" in message
    assert "is not clipped" in message


def test_the_message_shows_a_component_to_follow_by_hand():
    lines = complaint(check_sample_action, clamped_in_place).splitlines()
    assert lines[1] == (
        "  Example: mean = -0.3, log_std = -0.5, σ = 0.607, noise = 2.4, low = -1.6, high = 0.5."
    )
    assert lines[2].split() == ["seen", "action", "0.5,", "sent", "0.5"]
    assert lines[3].split() == ["expected", "action", "1.156,", "sent", "0.5"]
