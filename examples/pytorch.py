"""moue's networks in PyTorch, and their weights there and back.

    moue export --weights runs/fer/best.safetensors --format safetensors --out pytorch.safetensors
    python examples/pytorch.py pytorch.safetensors face.png

    net, description = load("pytorch.safetensors")     # ready for net.eval() or for more training
    save(net, description, "trained.safetensors")      # then: moue import --weights trained.safetensors --out ...

Needs torch and safetensors, and pillow for the command line. A description is what the file's metadata say:
`model`, `classes`, `mean`, `std` and, if they are calibrated, `temperature`. Faces are [n, 1, 48, 48],
(grey / 255 - mean) / std.
"""

import json
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

STEM = 32
WIDTHS = [32, 64, 128, 256]
FEATURES = 128
VGG, VGG_DENSE = [64, 128, 256, 512], [512, 128]
CNN, CNN_DENSE = [32, 32, 64], [3072]
ENTRY = "moue.pytorch"


def conv3x3(cin, cout):
    return nn.Conv2d(cin, cout, 3, padding=1, bias=False)


def depthwise(c):
    return nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)


def pointwise(cin, cout, stride=1):
    return nn.Conv2d(cin, cout, 1, stride=stride, bias=False)


class Stem(nn.Module):
    """Input module: two 3x3 convolutions with batch norm and ReLU."""

    def __init__(self, c):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(1, c), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = conv3x3(c, c), nn.BatchNorm2d(c)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class Separable(nn.Module):
    """Two depthwise-separable convolutions with batch norm, ReLU between; `standard` makes them 3x3 ones."""

    def __init__(self, cin, c, standard=False):
        super().__init__()
        if standard:
            self.dw1, self.pw1 = nn.Identity(), conv3x3(cin, c)
            self.dw2, self.pw2 = nn.Identity(), conv3x3(c, c)
        else:
            self.dw1, self.pw1 = depthwise(cin), pointwise(cin, c)
            self.dw2, self.pw2 = depthwise(c), pointwise(c, c)
        self.bn1, self.bn2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)

    def main(self, x):
        x = F.relu(self.bn1(self.pw1(self.dw1(x))))
        return self.bn2(self.pw2(self.dw2(x)))


class Identity(Separable):
    """Identity residual block."""

    def forward(self, x):
        return F.relu(self.main(x) + x)


class Block(Separable):
    """Convolutional residual block, with `identity_blocks` others behind it."""

    def __init__(self, cin, c, standard=False, identity_blocks=0):
        super().__init__(cin, c, standard)
        self.short, self.short_bn = pointwise(cin, c, stride=2), nn.BatchNorm2d(c)
        self.behind = [f"identity{k + 1}" for k in range(identity_blocks)]
        for name in self.behind:
            self.add_module(name, Identity(c, c))

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.main(x), 3, 2, 1) + self.short_bn(self.short(x)))
        for name in self.behind:
            x = self.get_submodule(name)(x)
        return x


class SqueezeExcite(nn.Module):
    """Channel attention by averages (Hu et al. 2018)."""

    def __init__(self, c):
        super().__init__()
        hidden = max(c // 16, 1)
        self.fc1, self.fc2 = nn.Linear(c, hidden), nn.Linear(hidden, c)

    def mlp(self, pooled):
        return self.fc2(F.relu(self.fc1(pooled)))

    def forward(self, x):
        return x * torch.sigmoid(self.mlp(x.mean((2, 3))))[:, :, None, None]


class Cbam(SqueezeExcite):
    """Channel attention by averages and maxima, then spatial attention (Woo et al. 2018)."""

    def __init__(self, c):
        super().__init__(c)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        channels = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        x = x * channels[:, :, None, None]
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.spatial(pooled))


ATTENTION = {"cbam": Cbam, "se": SqueezeExcite}


class Out(nn.Module):
    """Output module: 3x3 convolution, batch norm, ReLU, global average."""

    def __init__(self, cin, c):
        super().__init__()
        self.conv, self.bn = conv3x3(cin, c), nn.BatchNorm2d(c)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x))).mean((2, 3))


class Stack(nn.Module):
    """Some 3x3 convolutions with batch norm and ReLU, then maximum pooling."""

    def __init__(self, cin, c, convs):
        super().__init__()
        self.convs = convs
        for i in range(convs):
            self.add_module(f"conv{i + 1}", conv3x3(cin if i == 0 else c, c))
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(c))

    def forward(self, x):
        for i in range(self.convs):
            x = F.relu(self.get_submodule(f"bn{i + 1}")(self.get_submodule(f"conv{i + 1}")(x)))
        return F.max_pool2d(x, 3, 2, 1)


class Network(nn.Module):
    """Logits of faces. The parts run in the order in which they are added; `model` is the description's."""

    def __init__(self, model, standard=False):
        super().__init__()
        self.parts, loss = [], model["loss"]
        self.loss = loss if isinstance(loss, str) else next(iter(loss))
        self.scale = loss["am-softmax"]["scale"] if self.loss == "am-softmax" else 1.0
        self.attention, self.cbam_at = ATTENTION[model.get("attention", "cbam")], model["cbam"]
        architecture = model.get("architecture", "dnn")
        if architecture == "dnn":
            behind = model.get("identity_blocks", 0)
            depths = [behind] * 4 if isinstance(behind, int) else behind
            features = self.dnn(model.get("widths", WIDTHS), depths, standard)
        elif architecture == "vgg":
            features = self.stacks(2, model.get("widths", VGG), VGG_DENSE)
        else:
            features = self.stacks(1, CNN, CNN_DENSE)
        self.head = nn.Linear(features, model["classes"], bias=self.loss != "am-softmax")

    def part(self, name, module):
        self.add_module(name, module)
        self.parts.append(name)

    def dnn(self, widths, depths, standard):
        self.part("stem", Stem(STEM))
        self.attend("input", STEM)
        for i, (cin, c, depth) in enumerate(zip([STEM] + widths, widths, depths), 1):
            self.part(f"block{i}", Block(cin, c, standard, depth))
            self.attend(f"block{i}", c)
        self.part("out", Out(widths[-1], FEATURES))
        return FEATURES

    def attend(self, here, c):
        if self.cbam_at == here:
            self.part("cbam", self.attention(c))

    def stacks(self, convs, widths, dense):
        side, cin = 48, 1
        for i, c in enumerate(widths, 1):
            self.part(f"stack{i}", Stack(cin, c, convs))
            if self.cbam_at == "pools":
                self.part(f"cbam{i}", self.attention(c))
            side, cin = side // 2, c
        self.parts.append("flatten")
        self.flatten = nn.Flatten()
        cin *= side * side
        for i, c in enumerate(dense, 1):
            self.part(f"dense{i}", nn.Linear(cin, c))
            cin = c
        return cin

    def logits(self, x):
        """Softmax of these times `scale` gives the probabilities."""
        for name in self.parts:
            x = self.get_submodule(name)(x)
            if name.startswith("dense"):
                x = F.relu(x)
        if self.loss != "am-softmax":
            return self.head(x)
        return F.normalize(x) @ F.normalize(self.head.weight).t()

    def forward(self, x):
        """Probabilities of the classes."""
        return torch.softmax(self.scale * self.logits(x), 1)


def load(path):
    """The network in a file that `moue export --format safetensors` wrote, and its description."""
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()[ENTRY])
        state = {name: file.get_tensor(name) for name in file.keys()}
    net = Network(description["model"])
    net.scale /= description.get("temperature", 1.0)
    net.load_state_dict(state)
    return net, description


def save(net, description, path):
    """Writes what `moue import` reads."""
    save_file(net.state_dict(), path, metadata={ENTRY: json.dumps(description)})


def main():
    import numpy as np
    from PIL import Image

    net, description = load(sys.argv[1])
    net.eval()
    for path in sys.argv[2:]:
        face = np.asarray(Image.open(path).convert("L").resize((48, 48), Image.BILINEAR), np.float32)
        x = (torch.from_numpy(face)[None, None] / 255 - description["mean"]) / description["std"]
        with torch.inference_mode():
            p = net(x)[0]
        best = int(p.argmax())
        print(f"{path}: {description['classes'][best]} {100 * p[best]:.1f} %")


if __name__ == "__main__":
    main()
