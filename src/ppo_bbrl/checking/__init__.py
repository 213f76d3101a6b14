"""What is wrong with an environment: Gymnasium's rules, and what PPO needs besides."""

from typing import TYPE_CHECKING

from ppo_bbrl.system.lazy import lazy_names

if TYPE_CHECKING:
    from ppo_bbrl.checking.check import check_env as check_env
    from ppo_bbrl.checking.findings import CheckReport as CheckReport
    from ppo_bbrl.checking.findings import Finding as Finding

_HOME = {
    "CheckReport": "ppo_bbrl.checking.findings",
    "Finding": "ppo_bbrl.checking.findings",
    "check_env": "ppo_bbrl.checking.check",
}
__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
