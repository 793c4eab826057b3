"""The networks, written as their kind usually is, so that the exporters write what they write for users."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


# ---- convolutions -----------------------------------------------------------


def conv_bn(cin, cout, kernel, act, stride=1, groups=1):
    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Module):
    def __init__(self, *layers, act=None):
        super().__init__()
        self.body = nn.Sequential(*layers)
        self.act = act() if act else nn.Identity()

    def forward(self, x):
        return self.act(x + self.body(x))


class ShapeCNN(nn.Module):
    """A ResNet block and two MobileNet blocks."""

    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(1, 16, 3, nn.ReLU, stride=2),
            conv_bn(16, 16, 3, nn.ReLU6, groups=16),
            conv_bn(16, 32, 1, nn.ReLU6),
            Residual(conv_bn(32, 32, 3, nn.ReLU), conv_bn(32, 32, 3, None), act=nn.ReLU),
            conv_bn(32, 32, 3, nn.ReLU6, stride=2, groups=32),
            conv_bn(32, 32, 1, nn.ReLU6),
            Residual(
                conv_bn(32, 96, 1, nn.ReLU6), conv_bn(96, 96, 3, nn.ReLU6, groups=96), conv_bn(96, 32, 1, None)
            ),
            conv_bn(32, 64, 1, nn.ReLU),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(torch.flatten(self.pool(self.features(x)), 1))


class LegacyCNN(nn.Module):
    """LeNet-like, with a softmax over all places as attention; legacy.py writes the same graph."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.place = nn.Conv2d(32, 1, 1)
        self.dense1 = nn.Linear(512, 64)
        self.dense2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = self.dropout(F.relu(self.conv2(x)))
        x = x * self.place(x).flatten(1).softmax(1).reshape(-1, 1, 4, 4)
        return self.dense2(F.relu(self.dense1(x.flatten(1))))


# ---- transformers -----------------------------------------------------------


class BertLayer(nn.Module):
    """Post-norm encoder layer, q, k and v apart, as in BERT."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.query, self.key, self.value, self.dense = (nn.Linear(dim, dim) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-12), nn.LayerNorm(dim, eps=1e-12)
        self.intermediate, self.output = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def split_heads(self, x):
        return x.view(x.size(0), x.size(1), self.heads, self.head_dim).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q, k, v = (self.split_heads(f(x)) for f in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.head_dim) + mask
        context = torch.matmul(F.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        x = self.norm1(x + self.dense(context.view(x.size(0), x.size(1), -1)))
        return self.norm2(x + self.output(F.gelu(self.intermediate(x))))


class CharEncoder(nn.Module):
    """BERT with ALBERT's economy: both layers share one set of weights."""

    def __init__(self, letters, length, classes, dim=128, layers=2):
        super().__init__()
        self.word, self.position = nn.Embedding(letters, dim, padding_idx=0), nn.Embedding(length, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.register_buffer("position_ids", torch.arange(length).unsqueeze(0))
        self.layer, self.layers = BertLayer(dim, heads=4, hidden=256), layers
        self.classifier = nn.Linear(dim, classes)
        for table in (self.word, self.position):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, input_ids, attention_mask):
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -10000.0
        x = self.norm(self.word(input_ids) + self.position(self.position_ids[:, : input_ids.size(1)]))
        for _ in range(self.layers):
            x = self.layer(x, mask)
        return self.classifier(x[:, 0])


class ViTBlock(nn.Module):
    """Pre-norm encoder layer with one matrix for q, k and v, as in ViT."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        n, s, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, s, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attention = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        x = x + self.proj((attention @ v).transpose(1, 2).reshape(n, s, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, dim=64, layers=2):
        super().__init__()
        self.patch_embed = nn.Conv2d(1, dim, 2, stride=2)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 17, dim) * 0.02)
        self.blocks = nn.Sequential(*(ViTBlock(dim, heads=4, hidden=3 * dim) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.size(0), -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


# ---- recurrent --------------------------------------------------------------


class WaveLSTM(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.lstm = nn.LSTM(4, 40, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(80, classes)

    def forward(self, x):
        return self.head(self.lstm(x)[0].mean(1))


class Front(nn.Module):
    """A learned filter bank: chunk [N, L] to features [L / stride, N, 24]."""

    def __init__(self, kernel, stride):
        super().__init__()
        self.conv = nn.Conv1d(1, 24, kernel, stride, padding=(kernel - stride) // 2)

    def forward(self, chunk):
        return F.relu(self.conv(chunk.unsqueeze(1))).permute(2, 0, 1)


class MelodyGRU(nn.Module):
    """Hears a melody chunk by chunk; a branch for either sample rate; state [1, N, 48] is fed back."""

    def __init__(self, classes):
        super().__init__()
        self.front8k, self.front16k = Front(16, 8), Front(32, 16)
        self.gru = nn.GRU(24, 48)
        self.head = nn.Linear(48, classes)

    def forward(self, chunk, rate, state):
        if rate == 16000:
            features = self.front16k(chunk)
        else:
            features = self.front8k(chunk)
        y, state = self.gru(features, state)
        return self.head(y[-1]), state
