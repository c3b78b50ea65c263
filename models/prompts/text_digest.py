"""The digest of what text features are made of: equal on every machine, unlike the features, which are rounded."""

import hashlib
import json
from collections.abc import Sequence

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import prompt_to_bytes
from certrad.models.prompts.context import ContextVectors, class_tokens, template_tokens
from certrad.models.types.rejection import known_classes


def text_digest(
    backbone: Backbone, class_names: Sequence[str], template: str, prompt: ContextVectors | Bank | None
) -> str:
    """Returns the SHA-256 of the token ids of all classes and of the context vectors before any adaptation.

    With the text tower, whose weights have a digest of their own, they make the text features. The classes are hashed
    in the order of their token ids, so that the same classes in another order have one digest; with vectors for each
    class, in their own order.

    Args:
        backbone: The text tower's tokenizer.
        class_names: The names of the classes; an extra class has no text, and is digested with the bank.
        template: Text with one `{}`; it counts without a prompt only.
        prompt: Context vectors, or a bank; None for the template.
    """
    if prompt is None:
        tokens = template_tokens(backbone, class_names, template)
    else:
        # The number of tokens of the name tells apart where vectors behind the name would go.
        tokens = [
            [length, *ids] for ids, length in (class_tokens(backbone, name) for name in known_classes(class_names))
        ]
    if prompt is None or not prompt.class_specific:
        tokens.sort()
    made_of = {
        "tokens": tokens,
        "context_sha256": None if prompt is None else hashlib.sha256(prompt_to_bytes(prompt)).hexdigest(),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
