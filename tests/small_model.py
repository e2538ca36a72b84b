"""A checkpoint small enough to train inside a test, on a text of the tests' own, with a tokenizer made from it."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"
TEXT, ENDINGS = DATA / "harbour.txt", DATA / "endings.jsonl"
END = "<|endoftext|>"
CONTEXT, VOCABULARY = 64, 512


def train(folder: Path, steps: int = 100, seed: int = 0, vocabulary: int = VOCABULARY) -> Path:
    """A GPT-2 of two layers that has read the text often enough to prefer it, saved with its tokenizer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = _tokenizer(vocabulary)
    torch.manual_seed(seed)
    shape = {"n_positions": CONTEXT, "n_embd": 64, "n_layer": 2, "n_head": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    module = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **shape, **ends, **quiet))
    ids = torch.tensor(tokenizer.encode(END.join(TEXT.read_text().split("\n\n"))))
    optimizer, threads = torch.optim.AdamW(module.parameters(), lr=3e-3), torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small are slower on two
    for _ in range(steps):
        starts = torch.randint(len(ids) - CONTEXT, (8,))
        batch = torch.stack([ids[start : start + CONTEXT] for start in starts])
        module(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(vocabulary: int):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train([str(TEXT)], trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=END, eos_token=END)
