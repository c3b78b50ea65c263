"""BERT as a text tower: soft prompts enter as word embeddings, with a real attention mask.

The released code of PromptSmooth passed the finished embeddings of BERT instead, so that positions, types and the layer
norm were applied twice, and token ids as the mask.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from transformers.initialization import no_init_weights
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

from certrad.models.backbones.towers import TextTower
from certrad.models.backbones.weights import TOKENIZER_CONFIG, VOCABULARY, count_under, read_json, shape_of
from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard
from certrad.models.types.cards import Activation

HEAD_WIDTH: Final = 64
"""Width of an attention head in every published BERT; the shapes in a file do not show it."""
NORMALISATION: Final = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")

Pooling = Callable[[Sequence[Tensor]], Tensor]
"""From the hidden states (K, L, d) of all layers, the embeddings first, to one vector (K, d) for each prompt."""


class BertText(TextTower):
    """A BERT, its pooling and its projection to the common space.

    Args:
        transformer: the BERT.
        proj: projection to the common space.
        pooling: reduces the hidden states to one vector for each prompt.
        tokenizer: WordPiece tokenizer of the same vocabulary.
        context_length: most tokens of a prompt.
        embed_dim: D.
        padded: whether the pooling reads the padding too, so that every prompt has to be padded to `context_length`.

    Raises:
        Rejected: invalid_weights where tokenizer and weights have different vocabularies.
    """

    def __init__(
        self,
        transformer: BertModel,
        proj: nn.Module,
        pooling: Pooling,
        tokenizer: BertTokenizer,
        *,
        context_length: int,
        embed_dim: int,
        padded: bool,
    ) -> None:
        super().__init__()
        words = transformer.config.vocab_size
        if len(tokenizer) != words:
            raise Rejected("invalid_weights", f"{VOCABULARY} has {len(tokenizer)} words, the weights are for {words}")
        self.transformer = transformer
        self.proj = proj
        self.width = transformer.config.hidden_size
        self.embed_dim = embed_dim
        self.context_length = context_length
        self.start_token, self.end_token = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.pad_token = tokenizer.pad_token_id
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._padded = padded

    def tokenize(self, text: str) -> list[int]:
        """Returns the WordPiece token ids of a text; a word that the vocabulary cannot spell is `[UNK]`.

        Raises:
            Rejected: invalid_request for a text that contains a special token.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        if set(ids) & (set(self._tokenizer.all_special_ids) - {self._tokenizer.unk_token_id}):
            raise Rejected("invalid_request", "the text must not contain a special token of the vocabulary")
        return ids

    def vocabulary(self) -> list[str]:
        """Returns every token of the WordPiece vocabulary; `##` marks one that continues a word."""
        return list(self._tokenizer.convert_ids_to_tokens(list(range(len(self._tokenizer)))))

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Returns word embeddings, before positions, types and layer norm."""
        embeddings: Tensor = self.transformer.embeddings.word_embeddings(ids)
        return embeddings

    def encode(self, embeddings: Tensor, ends: Tensor) -> Tensor:
        """Returns the projected pooling of the hidden states; no token attends to the padding behind the end token."""
        mask = torch.arange(embeddings.shape[1], device=embeddings.device) <= ends.unsqueeze(1)
        output = self.transformer(inputs_embeds=embeddings, attention_mask=mask.long(), output_hidden_states=True)
        features: Tensor = self.proj(self._pooling(output.hidden_states))
        return features

    def padded_length(self, longest: int) -> int:
        """Returns `context_length` if the pooling reads the padding."""
        return self.context_length if self._padded else longest


def empty_bert(tensors: dict[str, Tensor], prefix: str) -> BertModel:
    """Returns a BERT without values whose architecture is read from the tensors under a prefix; no file states it.

    Raises:
        Rejected: invalid_weights for tensors of another architecture.
    """
    words, width = shape_of(tensors, f"{prefix}embeddings.word_embeddings.weight", 2)
    if width % HEAD_WIDTH:
        raise Rejected("invalid_weights", f"the width of a BERT must be a multiple of {HEAD_WIDTH}; got {width}")
    config = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=count_under(tensors, f"{prefix}encoder.layer."),
        num_attention_heads=width // HEAD_WIDTH,
        intermediate_size=shape_of(tensors, f"{prefix}encoder.layer.0.intermediate.dense.weight", 2)[0],
        max_position_embeddings=shape_of(tensors, f"{prefix}embeddings.position_embeddings.weight", 2)[0],
        type_vocab_size=shape_of(tensors, f"{prefix}embeddings.token_type_embeddings.weight", 2)[0],
    )
    with no_init_weights():  # not on the meta device: its position ids are buffers that no file holds
        return BertModel(config, add_pooling_layer=f"{prefix}pooler.dense.weight" in tensors)


def read_tokenizer(card: BackboneCard, directory: Path) -> BertTokenizer:
    """Returns the WordPiece tokenizer of the vocabulary beside the weights.

    `tokenizer_config.json` decides lower-casing. If that file is missing or says nothing, the library's own default
    applies, which is to lower-case: the authors' code used no other.

    Raises:
        Rejected: backbone_unavailable without a vocabulary, invalid_weights for one without BERT's special tokens.
    """
    try:
        words = (directory / VOCABULARY).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise Rejected("backbone_unavailable", f"backbone {card.id!r} has no file {VOCABULARY!r} here") from None
    except ValueError as error:
        raise Rejected("invalid_weights", f"{VOCABULARY} of backbone {card.id!r} is not UTF-8") from error
    missing = [token for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if token not in words]
    if missing:
        raise Rejected("invalid_weights", f"{VOCABULARY} of backbone {card.id!r} lacks {', '.join(missing)}")
    config = read_json(card, directory, TOKENIZER_CONFIG) if (directory / TOKENIZER_CONFIG).exists() else {}
    options = {name: config[name] for name in NORMALISATION if name in config}
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)}, **options)


def check_activation(card: BackboneCard, activation: Activation) -> None:
    """Checks that the activation is GELU, the only one of these architectures.

    Raises:
        Rejected: invalid_weights for another activation.
    """
    if activation == "quick_gelu":
        raise Rejected("invalid_weights", f"the towers of {card.id!r} have GELU, not {activation}")
