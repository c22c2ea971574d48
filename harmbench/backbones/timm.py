"""Any timm model by name.

known_models      names, read from timm's source: planning must not wait seconds for timm and torch to load
Timm.build        the network without its classifier, with a stem for small images, after a resize
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from harmbench._torch import torch
from harmbench._torchvision import import_torchvision
from harmbench.backbones._base import Backbone
from harmbench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from torch import nn

_REGISTERED = re.compile(r"^@register_model\s*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
_SMALLEST = 32  # most networks halve the image five times
_SMALL = 64  # up to this size, a stem that shrinks the image fourfold leaves too little

# What timm raises for a name, tag or size it does not take, and its hub client for weights it cannot fetch.
_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, OSError)

# Lengths of the features of common models, which timm's source does not tell without running it; tested.
_FEATURES = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet10t"), 512),
    **dict.fromkeys(("resnet50", "resnet101", "resnet152", "wide_resnet50_2"), 2048),
    **dict.fromkeys(("vit_tiny_patch16_224", "deit_tiny_patch16_224"), 192),
    **dict.fromkeys(("vit_small_patch16_224", "deit_small_patch16_224"), 384),
    **dict.fromkeys(("vit_base_patch16_224", "deit_base_patch16_224", "swin_tiny_patch4_window7_224"), 768),
    **dict.fromkeys(("convnext_tiny", "convnext_small"), 768),
    **dict.fromkeys(("efficientnet_b0", "mobilenetv2_100", "mobilenetv3_large_100"), 1280),
    **dict.fromkeys(("pvt_v2_b0",), 256),
}

ImageSize = tuple[int, int]


class Timm(Backbone):
    """Any timm model, `timm:MODEL`, such as `timm:resnet18` or `timm:vit_tiny_patch16_224`, without its classifier.

    The features are the inputs of the model's classifier. Weights are fresh, or, with `pretrained=true`, those that
    timm downloads. Inputs are resized, bilinearly, to the model's own size where that is fixed (ViT, Swin) or the
    weights are pretrained. Others are enlarged to at least 32 pixels. `size` overrides that. Networks with the stem of
    ResNet, fresh and on inputs up to 64 pixels, get a 3x3 first convolution of stride 1 and no max-pool, as in arXiv
    2603.10225. Names: `python -c "from harmbench.backbones.timm import known_models; print(*known_models())"`.

    >>> import torch
    >>> Timm(model="resnet10t").build((1, 8, 8))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 512])
    """

    name: ClassVar[str] = "timm"
    argument: ClassVar[str | None] = "model"

    model: str
    pretrained: bool = False
    size: Literal["auto"] | int = Field(default="auto", union_mode="left_to_right")

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        architecture = model.partition(".")[0]  # the text after the dot names weights
        if architecture not in known_models():
            near = difflib.get_close_matches(architecture, known_models(), n=6, cutoff=0)  # of over a thousand
            raise UnknownNameError("timm model", model, near, see="harmbench show timm", partial=True)
        return model

    @field_validator("size")
    @classmethod
    def _positive(cls, size: int | str) -> int | str:
        if isinstance(size, int) and size < 1:
            raise ValueError(f"must be auto or a number of pixels, at least 1, got {size}")
        return size

    def known_features(self) -> int | None:
        return _FEATURES.get(self.model.partition(".")[0])

    def build(self, input_shape: tuple[int, ...]) -> nn.Module:
        """Return a new module, (B, C, H, W) -> features (B, N), initialized from torch's global generator.

        Args:
            input_shape: (C, H, W) of one input.

        Raises:
            UsageError: if timm cannot build the model, or the model cannot take such images.
        """
        channels, height, width = input_shape
        own_size, is_fixed = self._native()
        size = self._input_size((height, width), own_size, is_fixed)
        options = {}
        if is_fixed and size != own_size:
            options["img_size"] = size
        network = self._network(channels, options)
        if max(size) <= _SMALL and not self.pretrained:
            _open_stem(network)
        module = network
        if size != (height, width):
            module = torch.nn.Sequential(_resize((height, width), size), network)
        self._try_out(module, input_shape)
        return module

    def _native(self) -> tuple[ImageSize, bool]:
        """The (H, W) that timm's configuration of the model gives, and whether the model takes no other."""
        facts = _import_timm().models.get_pretrained_cfg(self.model.partition(".")[0])
        return facts.input_size[-2:], facts.fixed_input_size

    def _input_size(self, image: ImageSize, own_size: ImageSize, is_fixed: bool) -> ImageSize:
        if isinstance(self.size, int):
            return self.size, self.size
        if is_fixed or self.pretrained:
            return own_size
        return max(image[0], _SMALLEST), max(image[1], _SMALLEST)

    def _network(self, channels: int, more: dict[str, Any]) -> nn.Module:
        try:
            network: nn.Module = _import_timm().create_model(
                self.model, pretrained=self.pretrained, num_classes=0, in_chans=channels, **more
            )
        except _FAILURES as error:
            raise UsageError(f"{self}: timm cannot build it: {_one_line(error)}") from error
        return network

    def _try_out(self, module: nn.Module, input_shape: tuple[int, ...]) -> None:
        # Sizes too small for a network show only when it runs; better here than in the first step of a trial.
        try:
            with torch.no_grad():
                features = module.eval()(torch.zeros(1, *input_shape))
        except _FAILURES as error:
            raise UsageError(
                f"{self}: cannot take images of {'x'.join(map(str, input_shape))}: {_one_line(error)}; "
                f"try a larger size, such as timm:{self.model}[size=224]"
            ) from error
        module.train()
        if features.ndim != 2:
            raise UsageError(f"{self}: its features have the shape {tuple(features.shape)}; a head needs (B, N)")


@functools.cache
def known_models() -> tuple[str, ...]:
    """Names of the timm models, sorted, without importing timm.

    >>> "resnet18" in known_models()
    True
    """
    spec = importlib.util.find_spec("timm")
    if spec is None:
        return ()
    names: set[str] = set()
    for folder in spec.submodule_search_locations or ():
        for file in Path(folder, "models").rglob("*.py"):
            names.update(_REGISTERED.findall(file.read_text(encoding="utf-8")))
    return tuple(sorted(names))


def _import_timm() -> Any:
    import_torchvision()
    import timm

    return timm


def _open_stem(network: nn.Module) -> None:
    """Let a ResNet's stem keep the size of the image: first convolution of stride 1, no max-pool."""
    first = getattr(network, "conv1", None)
    if not hasattr(network, "maxpool") or not isinstance(first, torch.nn.Conv2d | torch.nn.Sequential):
        return
    if isinstance(first, torch.nn.Conv2d):
        stem = torch.nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None)
        torch.nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as timm's own
        network.conv1 = stem
    else:  # a deep stem is of 3x3 convolutions already
        first.get_submodule("0").stride = (1, 1)  # type: ignore[assignment]
    network.maxpool = torch.nn.Identity()


def _resize(image: ImageSize, size: ImageSize) -> nn.Module:
    """A module without parameters, (B, C, *image) -> (B, C, *size), bilinear, antialiased where it shrinks."""
    if size[0] < image[0] or size[1] < image[1]:
        shrink: nn.Module = import_torchvision().transforms.Resize(size)
        return shrink
    return torch.nn.Upsample(size, mode="bilinear")  # the same function here, three times as fast


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
