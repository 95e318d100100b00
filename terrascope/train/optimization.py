"""AdamW, the course of its rate, clipping, and the running mean of the weights.

Nothing here remembers where a run is: the rate is a function of the step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from terrascope.train.settings import Optimizer, Stage

__all__ = ["WeightMean", "clip_gradients", "learning_rate", "make_optimizer", "set_rate"]


def learning_rate(stage: Stage, step: int) -> float:
    """Return the learning rate of a step: a linear rise, then half a cosine.

    Parameters
    ----------
    stage : Stage
        Rate, steps, rise and what is left in the end.
    step : int
        From 0.

    Returns
    -------
    rate : float
        `Stage.rate` at the top; ``final_rate * rate`` at the last step.
    """
    if step < stage.warmup:
        return stage.rate * (step + 1) / (stage.warmup + 1)
    course = (step - stage.warmup) / max(stage.steps - 1 - stage.warmup, 1)
    left = stage.final_rate
    return stage.rate * (left + (1 - left) * 0.5 * (1 + math.cos(math.pi * min(course, 1.0))))


def make_optimizer(model: nn.Module, settings: Optimizer, rate: float) -> torch.optim.AdamW:
    """Make AdamW over the weights that learn [1]_.

    Parameters
    ----------
    model : Module
        Parameters without `requires_grad` are left out.
    settings : Optimizer
        Decay and betas. Vectors and embeddings do not decay.
    rate : float
        Learning rate.

    Returns
    -------
    optimizer : AdamW
        Fused where the device can.

    References
    ----------
    .. [1] Loshchilov and Hutter (2019). Decoupled weight decay regularization. arXiv:1711.05101.
    """
    embeddings = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
    }
    learning = [p for p in model.parameters() if p.requires_grad]
    wide = [p for p in learning if p.ndim > 1 and id(p) not in embeddings]
    narrow = [p for p in learning if p.ndim <= 1 or id(p) in embeddings]
    groups = [
        {"params": wide, "weight_decay": settings.weight_decay},
        {"params": narrow, "weight_decay": 0.0},
    ]
    first, second = settings.betas
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=rate, betas=(first, second), fused=True
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups.

    Parameters
    ----------
    optimizer : Optimizer
        Changed.
    rate : float
        New rate.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(model: nn.Module, largest: float) -> float:
    """Scale all gradients so that their norm is at most `largest`.

    Parameters
    ----------
    model : Module
        Its gradients are changed.
    largest : float
        Norm.

    Returns
    -------
    norm : float
        Before; not finite where a gradient is not.
    """
    with_gradient = [p for p in model.parameters() if p.grad is not None]
    return float(nn.utils.clip_grad_norm_(with_gradient, largest))


class WeightMean:
    """The exponential moving average of the weights, the model that is validated and shipped.

    Parameters
    ----------
    model : Module
        Its parameters are the first value; those that adapters hold still are left out.
    decay : float
        Share that is kept at each step, reached slowly: at step n it is at most
        ``(1 + n) / (10 + n)``. 0 follows the weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {
            name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the weights of a step in.

        Parameters
        ----------
        model : Module
            After the step.
        """
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mean = [self.weights[name] for name, p in model.named_parameters() if p.requires_grad]
        current: list[Tensor] = [p.detach() for p in model.parameters() if p.requires_grad]
        torch._foreach_lerp_(mean, current, 1 - keep)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the mean and the weights of a model; a second call undoes it.

        Parameters
        ----------
        model : Module
            Of the same parameters.
        """
        own = dict(model.named_parameters())
        for name, mean in self.weights.items():
            self.weights[name] = own[name].detach().clone()
            own[name].copy_(mean)
