"""A SentencePiece model written as a `tokenizer.json`, which transformers opens without other packages."""

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE

_SPACE = "\u2581"


def tokenizer_json(model: bytes) -> bytes | None:
    """The same tokenizer in the format of the package `tokenizers`, None for a kind that it would cut otherwise.

    Written are BPE models that change nothing in a text but its spaces, as `train_sentencepiece` makes them. Ids are
    the same for every text without the names of special tokens, which are those tokens here and text there.
    """
    from sentencepiece import sentencepiece_model_pb2  # needs protobuf, which Orbax brings

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    rules, trainer = proto.normalizer_spec, proto.trainer_spec
    plain = rules.add_dummy_prefix and rules.escape_whitespaces and not rules.remove_extra_whitespaces
    if trainer.model_type != trainer.BPE or not plain or rules.precompiled_charsmap:
        return None
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = [piece.piece for piece in proto.pieces]
    normal, own = (
        [i for i, piece in enumerate(proto.pieces) if piece.type == kind]
        for kind in (proto.SentencePiece.NORMAL, proto.SentencePiece.USER_DEFINED)
    )
    if any(len(texts[i]) > 1 for i in own):
        return None  # they would be looked for before the spaces are changed
    # SentencePiece joins the two neighbours that make the piece of the best score, whichever two those are.
    ids = {texts[i]: i for i in normal}
    merges = [
        (text[:at], text[at:])
        for text in sorted(ids, key=lambda text: -proto.pieces[ids[text]].score)
        for at in range(1, len(text))
        if text[:at] in ids and text[at:] in ids
    ]
    tokenizer = Tokenizer(
        BPE(
            vocab={text: i for i, text in enumerate(texts)},
            merges=merges,
            unk_token=texts[pieces.unk_id()],
            fuse_unk=True,
            byte_fallback=trainer.byte_fallback,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    if pieces.bos_id() >= 0:
        bos = texts[pieces.bos_id()]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, pieces.bos_id())]
        )
    special = [texts[i] for i in range(len(texts)) if pieces.is_control(i) or pieces.is_unknown(i)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    return tokenizer.to_str().encode()
