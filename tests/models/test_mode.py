from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from natx.attacks import PGD
from natx.errors import ConfigError
from natx.models.mode import attack_mode
from natx.threat import Linf


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    net.train()
    net[1].eval()  # a frozen layer inside a training model
    net[1].weight.requires_grad_(False)
    return net


def modes(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def flags(net: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in net.parameters()]


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _generator():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
@pytest.mark.parametrize("exit_by", [None, ValueError, KeyboardInterrupt])
def test_everything_is_put_back_on_any_exit(bn_mode: str, exit_by: type[BaseException] | None) -> None:
    net = network()
    before = copy.deepcopy(net.state_dict()), modes(net), flags(net)

    def attacked() -> None:
        with attack_mode(net, bn_mode):
            net(images())
            if exit_by is not None:
                raise exit_by

    if exit_by is None:
        attacked()
    else:
        with pytest.raises(exit_by):
            attacked()
    assert (modes(net), flags(net)) == before[1:]
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[0][key]), key


def test_inside_nothing_trains_or_asks_for_gradients() -> None:
    net = network()
    with attack_mode(net):
        assert not any(modes(net)) and not any(flags(net))
        assert torch.equal(net(images()), net(images()))  # dropout is off


def test_bn_train_uses_the_batch_and_keeps_dropout_off() -> None:
    net = network()
    expected = copy.deepcopy(net)
    with attack_mode(net, "train"):
        assert [m.training for m in net] == [False, True, False, False, True]
        out = net(images())
    x = nn.functional.conv2d(images(), expected[0].weight, expected[0].bias)
    x = nn.functional.batch_norm(x, None, None, expected[1].weight, expected[1].bias, training=True)
    x = nn.functional.conv2d(x, expected[3].weight, expected[3].bias)
    x = nn.functional.batch_norm(x, None, None, expected[4].weight, expected[4].bias, training=True)
    torch.testing.assert_close(out, x)


def test_unknown_bn_mode_is_refused_before_anything_changes() -> None:
    net = network()
    before = modes(net), flags(net)
    with pytest.raises(ValueError, match="bn_mode"), attack_mode(net, "track"):
        pass
    assert (modes(net), flags(net)) == before


def test_an_attack_refuses_an_unknown_bn_mode_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="'eval' or 'train'"):
        PGD(Linf(8 / 255), bn_mode="batch")


class Merging(nn.Linear):
    """Adds a part to its weight in eval mode and takes it off in training, as LoRA layers do."""

    merged = False

    def train(self, mode: bool = True) -> Merging:
        super().train(mode)
        if mode == self.merged:  # neither training with it nor judged without
            self.weight.data += -1 if mode else 1
            self.merged = not mode
        return self


@pytest.mark.parametrize("frozen", [False, True])
def test_what_a_layers_own_eval_did_is_taken_back(frozen: bool) -> None:
    net = nn.Sequential(Merging(2, 2), nn.Sequential(Merging(2, 2)))
    for layer in (net[0], net[1][0]):
        nn.init.ones_(layer.weight)
    net.train()
    net[1].train(not frozen)  # frozen in eval inside a training model
    before = modes(net), [(layer.merged, layer.weight.clone()) for layer in (net[0], net[1][0])]
    with attack_mode(net):
        assert net[0].merged and net[1][0].merged
    assert modes(net) == before[0]
    for layer, (merged, weight) in zip((net[0], net[1][0]), before[1]):
        assert layer.merged == merged and torch.equal(layer.weight, weight)
