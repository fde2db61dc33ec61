from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from natx.errors import CheckpointError, ConfigError
from natx.models.weights import read_weights
from tasks.cls import ClassificationTask
from tasks.cls.anatomy import classifier, features, input_size, normalisation
from tasks.cls.cifar import CIFAR_MEAN, MODELS, PreActBlock
from tasks.cls.models import create_model

# Two nets are too wide to run here; the meta device still checks their arrangement and shapes.
RUNNABLE = [name for name in MODELS if not name.startswith("wrn_34")]
TINY_TIMM = [("test_vit", 32), ("test_resnet", 64), ("vit_tiny_patch16_224", 32)]


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.fixture(autouse=True)
def _fixed_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def images(size: int, channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, size, size)


def saved(net: nn.Module, path: Path) -> Path:
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    return path


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18_cifar", 11_173_962),
        ("resnet50_cifar", 23_520_842),
        ("wrn_28_10", 36_479_194),
        ("wrn_34_10", 46_160_474),
        ("wrn_34_20", 184_531_674),
        ("vgg11_cifar", 9_231_114),
        ("densenet121_cifar", 6_956_426),
        ("mobilenetv2_cifar", 2_236_682),
    ],
)
def test_parameter_counts(name: str, expected: int) -> None:
    with torch.device("meta"):
        net = create_model(name, num_classes=10)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet18_cifar", 4),
        ("resnet50_cifar", 4),
        ("mobilenetv2_cifar", 4),
        ("densenet121_cifar", 4),
        ("vgg11_cifar", 1),
        ("wrn_34_10", 8),
        ("wrn_34_20", 8),
        ("resnet8_cifar", 8),
        ("resnet20_cifar", 8),
        ("small_cnn", 8),
    ],
)
def test_resolution_before_pooling(name: str, side: int) -> None:
    with torch.device("meta"):
        net = create_model(name, num_classes=10).eval()
        x = images(32)
        assert net.forward_features(x).shape[2:] == (side, side)
        assert net(x).shape == (2, 10)


@pytest.mark.parametrize("name", RUNNABLE)
def test_features_and_classifier_give_the_logits(name: str) -> None:
    net = create_model(name, num_classes=7).eval()
    x = images(32)
    with torch.no_grad():
        logits = net(x)
        penultimate = features(net, x)
        assert penultimate.shape == (2, classifier(net).in_features)
        torch.testing.assert_close(classifier(net)(penultimate), logits)
    assert logits.shape == (2, 7)
    assert classifier(net).out_features == 7
    assert torch.isfinite(logits).all()
    assert normalisation(net)[0] == CIFAR_MEAN
    assert input_size(net) == (3, 32, 32)


@pytest.mark.parametrize(("name", "size"), TINY_TIMM)
def test_timm_features_and_classifier_give_the_logits(name: str, size: int) -> None:
    net = create_model(name, num_classes=5, image_size=size).eval()
    x = images(size)
    with torch.no_grad():
        logits = net(x)
        torch.testing.assert_close(classifier(net)(features(net, x)), logits)
    assert logits.shape == (2, 5)
    assert input_size(net) == (3, size, size)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (1, 16), (3, 32)])
def test_small_cnn_sizes(channels: int, size: int) -> None:
    net = create_model("small_cnn", num_classes=10, in_chans=channels, image_size=size, width=8)
    assert net(images(size, channels)).shape == (2, 10)
    assert input_size(net) == (channels, size, size)
    mean, std = normalisation(net)
    assert len(mean) == len(std) == channels
    if channels == 1:
        assert (mean, std) == ((0.5,), (0.5,))


def test_normalisation_of_timm_nets() -> None:
    with torch.device("meta"):
        net = create_model("vit_small_patch16_224", num_classes=10)
    assert normalisation(net) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert input_size(net) == (3, 224, 224)
    net.pretrained_cfg = timm.models.get_pretrained_cfg("resnet18")
    assert normalisation(net)[0] == (0.485, 0.456, 0.406)
    net.pretrained_cfg = None
    with pytest.raises(ConfigError):
        normalisation(net)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_activation_of_wide_resnets(activation: str) -> None:
    with torch.device("meta"):
        net = create_model("wrn_28_10", num_classes=10, activation=activation)
    kinds = {type(module) for module in net.modules()}
    assert (nn.SiLU in kinds) == (activation == "silu")
    assert (nn.ReLU in kinds) == (activation == "relu")


def test_width_of_resnet8() -> None:
    assert classifier(create_model("resnet8_cifar", num_classes=10, width=2)).in_features == 128
    assert classifier(create_model("resnet8_cifar", num_classes=10)).in_features == 64


@pytest.mark.parametrize("outputs", [4, 6])
def test_only_a_projection_reads_the_activated_input(outputs: int) -> None:
    block = PreActBlock(4, outputs, stride=1, act=nn.ReLU).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        expected = x if outputs == 4 else block.shortcut(torch.relu(block.bn1(x)))
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("name", ["resnet18_cifar", "resnet50_cifar"])
def test_an_untrained_adversary_is_more_than_an_entropy_term(name: str) -> None:
    """The gradients in the target's logits of KL(p, p_a) and of -H(p) are equal where p_a is uniform: here they differ.

    By hand: d/dz_k of sum_c p_c f_c is p_k (f_k - sum_c p_c f_c) for f = log p - log p_a and for f = log p.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adversary, x = create_model(name, num_classes=10).eval(), 2 * torch.randn(8, 3, 16, 16)
        logits = 3 * torch.randn(8, 10) / 4  # a target's at temperature 4, spread as after some training
    with torch.no_grad():
        log_a = (adversary(x) / 4).log_softmax(1)
    p, log_p = logits.softmax(1), logits.log_softmax(1)
    kl, entropy = (p * (f - (p * f).sum(1, keepdim=True)) for f in (log_p - log_a, log_p))
    assert (kl - entropy).norm() / entropy.norm() > 0.06


def test_arrangement_of_wide_resnets() -> None:
    with torch.device("meta"):
        blocks = [m for m in create_model("wrn_28_10", num_classes=10).modules() if hasattr(m, "act2")]
    assert [block.shortcut is not None for block in blocks] == [True, False, False, False] * 3
    assert [block.conv1.stride[0] for block in blocks] == [1] * 4 + [2, 1, 1, 1] * 2


def test_wrapped_nets_keep_timms_state_dict_keys() -> None:
    net = create_model("resnet18_cifar", num_classes=10).eval()
    plain = timm.create_model("resnet18", num_classes=10).eval()
    plain.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    plain.maxpool = nn.Identity()
    plain.load_state_dict(net.state_dict(), strict=True)
    x = images(16)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), net(x))
    for own, base in (("mobilenetv2_cifar", "mobilenetv2_100"), ("densenet121_cifar", "densenet121")):
        with torch.device("meta"):
            keys = create_model(own, num_classes=10).state_dict().keys()
            assert keys == timm.create_model(base, num_classes=10).state_dict().keys()


@pytest.mark.parametrize(
    ("name", "kwargs", "part"),
    [
        ("resnet18_cifra", {}, "resnet18_cifar"),
        ("nothing_like_it_at_all", {}, "unknown model"),
        ("hf-hub:someone/something", {}, "unknown model"),
        ("resnet18.no_such_tag", {}, "no_such_tag"),
        ("wrn_28_10", {"activation": "tanh"}, "relu, silu"),
        ("small_cnn", {"depth": 3}, "depth"),
        ("test_resnet", {"no_such_option": 3}, "no_such_option"),
        ("small_cnn", {"num_classes": 0}, "num_classes"),
        ("deit_tiny_distilled_patch16_224", {}, "linear"),
    ],
)
def test_wrong_names_and_options(name: str, kwargs: dict, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        create_model(name, **{"num_classes": 10, **kwargs})
    assert part in one_line(error)


def test_pretrained_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", offline)
    with pytest.raises(CheckpointError) as error:
        create_model("test_vit", num_classes=10, pretrained=True)
    message = one_line(error)
    assert "timm/test_vit.r160_in1k" in message
    assert "task.checkpoint=" in message
    assert isinstance(error.value.__cause__, OSError)


def test_a_new_head_is_new_beside_pretrained_weights(tmp_path: Path) -> None:
    """Where the hub's has as many classes (its place is taken by a file here), too."""
    source = create_model("test_resnet", num_classes=5)
    hub = dict(pretrained_cfg_overlay=dict(file=str(saved(source, tmp_path / "hub.safetensors")), num_classes=5))
    for new_head in (False, True):
        net = create_model("test_resnet", num_classes=5, pretrained=True, new_head=new_head, **hub)
        assert torch.equal(net.conv1[0].weight, source.conv1[0].weight)
        assert torch.equal(classifier(net).weight, classifier(source).weight) == (not new_head)


@pytest.mark.parametrize("name", ["resnet18_cifar", "small_cnn"])
def test_own_nets_have_no_pretrained_weights(name: str) -> None:
    with pytest.raises(CheckpointError) as error:
        create_model(name, num_classes=10, pretrained=True)
    assert "task.checkpoint=" in one_line(error)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_vit_checkpoint_of_another_size_and_head(tmp_path: Path, suffix: str) -> None:
    source = create_model("test_vit", num_classes=7, image_size=64)
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)
    else:
        saved(source, path)
    net = create_model("test_vit", num_classes=3, image_size=32, weights=read_weights(path), pretrained=True)
    assert net.pos_embed.shape[1] < source.pos_embed.shape[1]
    torch.testing.assert_close(net.blocks[-1].mlp.fc2.weight, source.blocks[-1].mlp.fc2.weight)
    assert net(images(32)).shape == (2, 3)
    assert net.pretrained_cfg.get("state_dict") is None


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "small_cnn"])
def test_checkpoint_with_a_fitting_head_is_loaded_whole(tmp_path: Path, name: str) -> None:
    source = create_model(name, num_classes=7).eval()
    net = create_model(name, num_classes=7, weights=read_weights(saved(source, tmp_path / "net.safetensors"))).eval()
    for key, value in source.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], value)


def test_own_net_gets_a_new_head(tmp_path: Path) -> None:
    source = create_model("small_cnn", num_classes=7)
    path = saved(source, tmp_path / "net.safetensors")
    net = create_model("small_cnn", num_classes=3, weights=read_weights(path))
    assert classifier(net).out_features == 3
    torch.testing.assert_close(net.body[0][0].weight, source.body[0][0].weight)


@pytest.mark.parametrize(
    ("target", "classes"), [("test_vit", 5), ("test_vit", 9), ("test_resnet", 9), ("resnet18_cifar", 9)]
)
def test_checkpoint_of_another_architecture(tmp_path: Path, target: str, classes: int) -> None:
    path = saved(create_model("small_cnn", num_classes=5), tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError) as error:
        create_model(target, num_classes=classes, weights=read_weights(path))
    assert target in one_line(error)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["small_cnn", "test_vit"])
def test_missing_and_damaged_files(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    with pytest.raises(CheckpointError, match="no checkpoint"):
        create_model(name, num_classes=5, weights=read_weights(path))
    net = create_model(name, num_classes=5)
    if suffix == ".pth":
        torch.save(net.state_dict(), path)
    else:
        saved(net, path)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"not weights"):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError) as error:
            create_model(name, num_classes=5, weights=read_weights(path))
        assert str(path) in one_line(error)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"a": "b"}}])
def test_files_without_a_state_dict(tmp_path: Path, content: object) -> None:
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="state dict"):
        create_model("small_cnn", num_classes=5, weights=read_weights(path))


@pytest.mark.parametrize("name", ["small_cnn", "test_vit"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".npz"])
@pytest.mark.parametrize("archive", [False, True])
def test_pickled_code_is_not_run(tmp_path: Path, name: str, suffix: str, archive: bool) -> None:
    path, touched = tmp_path / f"net{suffix}", tmp_path / "touched"
    if archive:
        torch.save({"state_dict": Malicious(touched)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(touched)))
    with pytest.raises(CheckpointError) as error:
        create_model(name, num_classes=5, weights=read_weights(path))
    assert "weights_only" not in one_line(error)
    assert not touched.exists()


def test_a_backbone_is_all_but_the_class_layer() -> None:
    source, task = create_model("small_cnn", num_classes=10), ClassificationTask("small_cnn", 10)
    before = {key: value.clone() for key, value in task.net.state_dict().items()}
    task.load_backbone(source.state_dict(), source="w.pth")
    for key, value in task.net.state_dict().items():
        assert torch.equal(value, (before if key.startswith("fc.") else source.state_dict())[key])
    with pytest.raises(CheckpointError, match="another architecture"):
        task.load_backbone({}, source="w.pth")
