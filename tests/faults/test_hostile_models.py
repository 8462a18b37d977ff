"""Hostile and damaged models, tokenizers, templates and GGUF files: each ends in one line, and none runs code."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
import yaml

from hostile_models import (
    CONFIG,
    INDEX,
    LFS_POINTER,
    TOKENIZER,
    WEIGHTS,
    both,
    code,
    other_model,
    pickled,
    removed,
    replaced,
    save_model,
    settings,
    sharded,
    template,
    tensors,
    tokenizer,
    write_gguf,
    written,
)
from tiny_models import CHAT_TEMPLATE, EOS_ID, SPECIAL, write_squad
from tiny_sweeps import experiment

MARKER = "/tmp/thinwire_hostile_marker"  # noqa: S108 - also removed before each case
MOST_SECONDS = 60
MOST_SECONDS_OF_A_PROCESS = 300  # importing torch and transformers takes most of them on a busy machine
V = len(SPECIAL) + 256
SIZES = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": EOS_ID,
    "pad_token_id": 0,
    "bos_token_id": None,
    "initializer_range": 0.3,
}
AUTO = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model", "AutoTokenizer": [None, "evil.Tokenizer"]}
Q = "model.layers.0.self_attn.q_proj.weight"
HEAD = "lm_head.weight"


def nan_at(value):
    def change(found):
        found[Q][3, 5] = value
        return found

    return tensors(change)


def without(name):
    return tensors(lambda found: {key: tensor for key, tensor in found.items() if key != name})


def with_tensor(name, tensor):
    return tensors(lambda found: {**found, name: tensor(found) if callable(tensor) else tensor})


def dtype(name, kind):
    return tensors(lambda found: {**found, name: found[name].to(kind)})


def cut(file, size):
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:size])


def pattern(regex):
    """A pre-tokenizer that splits by ``regex``."""
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return tokenizer(lambda found: found.update(pre_tokenizer=split))


def normalizers(*steps):
    return tokenizer(lambda found: found.update(normalizer={"type": "Sequence", "normalizers": list(steps)}))


def added_token(id_, content, special=True):
    token = {"id": id_, "content": content, "special": special, "normalized": False}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    return tokenizer(lambda found: found["added_tokens"].append({**token, **flags}))


DOUBLING = [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 48
MODELS = {
    "bert": lambda: hf.BertForMaskedLM(
        hf.BertConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    ),
    "bert as a decoder": lambda: hf.BertLMHeadModel(
        hf.BertConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.3)
    ),
    "t5": lambda: hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=V, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4)
    ),
    "rwkv": lambda: hf.RwkvForCausalLM(hf.RwkvConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2)),
    "gemma 3, multimodal": lambda: hf.Gemma3ForConditionalGeneration(
        hf.Gemma3Config(
            text_config={**SIZES, "head_dim": 8},
            vision_config={
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
        )
    ),
}
"""Models of kinds that are not supported."""

REFUSED = {
    # Code of the model's.
    "auto_map of a known type": (both(settings(CONFIG, auto_map=AUTO), code(MARKER, "evil.py")), "auto_map"),
    "auto_map of an unknown type": (
        both(settings(CONFIG, auto_map=AUTO, model_type="evil"), code(MARKER, "evil.py")),
        "auto_map",
    ),
    "auto_map below": (settings(CONFIG, text_config={"auto_map": AUTO}), "auto_map"),
    "auto_map in a list": (settings(CONFIG, parts=[{"auto_map": AUTO}]), "auto_map"),
    "auto_map of a repository": (settings(CONFIG, auto_map={"AutoConfig": "evil/repo--evil.Config"}), "auto_map"),
    "auto_map of the tokenizer": (
        both(settings("tokenizer_config.json", auto_map=AUTO), code(MARKER, "evil.py")),
        r"tokenizer_config\.json has auto_map",
    ),
    "auto_map of the tokenizer, as a list": (
        settings("tokenizer_config.json", auto_map=["evil.Tokenizer", None]),
        "auto_map",
    ),
    "auto_map of the generation": (settings("generation_config.json", auto_map=AUTO), "auto_map"),
    "custom pipelines": (settings(CONFIG, custom_pipelines={"evil": {"impl": "evil.Pipe"}}), "custom_pipelines"),
    "kernels for attention": (settings(CONFIG, attn_implementation="evil/kernel"), "attn_implementation"),
    "kernels, underscored": (settings(CONFIG, _attn_implementation="evil/kernel@main:run"), "_attn_implementation"),
    "kernels, internal": (
        settings(CONFIG, _attn_implementation_internal="evil/kernel"),
        "_attn_implementation_internal",
    ),
    "kernels by part": (
        settings(CONFIG, attn_implementation={"": "sdpa", "text_config": "a/b"}),
        "attn_implementation",
    ),
    "kernels for experts": (settings(CONFIG, experts_implementation="evil/experts"), "experts_implementation"),
    "kernel config": (settings(CONFIG, kernel_config={"RMSNorm": "evil/norm:Norm"}), "kernel_config"),
    "use_kernels": (settings(CONFIG, use_kernels=True), "use_kernels"),
    "a scale of logits that the model does not have": (settings(CONFIG, logit_scale=0.5), "scaled and capped as"),
    "a cap of logits that the model does not have": (
        settings(CONFIG, final_logit_softcapping=1.0),
        "scaled and capped as",
    ),
    **{
        f"quantised by {method}": (settings(CONFIG, quantization_config={"quant_method": method, "bits": 4}), method)
        for method in ("gptq", "awq", "bitsandbytes", "fp8", "evil", "compressed-tensors")
    },
    "quantised without a method": (
        settings(CONFIG, quantization_config={"modules": ["evil.py"]}),
        "quantization_config",
    ),
    "only a pickle": (both(removed(WEIGHTS), pickled(MARKER, "pytorch_model.bin")), r"pytorch_model\.bin"),
    "only pickles": (both(removed(WEIGHTS), pickled(MARKER, "a.pt", "b.pkl", "c.ckpt")), r"a\.pt, b\.pkl, c\.ckpt"),
    "an index of pickles": (
        both(removed(WEIGHTS), pickled(MARKER, "p.bin"), settings(INDEX, weight_map={Q: "p.bin"})),
        r"names 'p\.bin'",
    ),
    "an adapter beside": (
        both(settings("adapter_config.json", peft_type="LORA"), pickled(MARKER, "adapter_model.bin")),
        r"adapter_config\.json",
    ),
    "an adapter alone": (
        both(removed(CONFIG), settings("adapter_config.json", base_model_name_or_path="evil/model")),
        r"no config\.json",
    ),
    # Weights.
    "a tensor is missing": (without(Q), "hold"),
    "the head is missing": (without(HEAD), "hold"),
    "a tensor has another name": (
        tensors(lambda found: {key.replace("q_proj", "query"): tensor for key, tensor in found.items()}),
        "q_proj",
    ),
    "a tensor too many": (with_tensor("model.layers.0.self_attn.gate.weight", torch.zeros(3)), "gate"),
    "a bias too many": (with_tensor(Q.replace("weight", "bias"), torch.ones(32)), "q_proj.bias"),
    "a layer too many": (settings(CONFIG, num_hidden_layers=1), r"layers\.1"),
    "a layer too few": (settings(CONFIG, num_hidden_layers=3), "describes a model of"),
    "layers -1": (settings(CONFIG, num_hidden_layers=-1), "num_hidden_layers=-1"),
    "layers 0": (settings(CONFIG, num_hidden_layers=0), r"layers\.0"),
    "layers 10^9": (settings(CONFIG, num_hidden_layers=10**9), "num_hidden_layers"),
    "layers as text": (settings(CONFIG, num_hidden_layers="two"), CONFIG),
    "layers as a fraction": (settings(CONFIG, num_hidden_layers=2.5), CONFIG),
    "another shape": (with_tensor(Q, torch.zeros(32, 31)), "hold"),
    "transposed": (
        with_tensor(
            "model.layers.0.mlp.up_proj.weight", lambda found: found["model.layers.0.mlp.up_proj.weight"].T.contiguous()
        ),
        "up_proj",
    ),
    "width 10^9": (settings(CONFIG, hidden_size=10**9), CONFIG),
    "width 10^30": (settings(CONFIG, hidden_size=10**30), CONFIG),
    "width 64": (settings(CONFIG, hidden_size=64), CONFIG),
    "width 16": (settings(CONFIG, hidden_size=16), "."),
    "width -32": (settings(CONFIG, hidden_size=-32), CONFIG),
    "vocabulary larger": (settings(CONFIG, vocab_size=V + 5), "describes a model of"),
    "vocabulary smaller": (settings(CONFIG, vocab_size=V - 5), "tokenizer"),
    "vocabulary 10^12": (settings(CONFIG, vocab_size=10**12), CONFIG),
    "heads that do not divide": (settings(CONFIG, num_attention_heads=5, head_dim=None), "."),
    "heads 0": (settings(CONFIG, num_attention_heads=0), "."),
    "key heads 3": (settings(CONFIG, num_key_value_heads=3), "."),
    "integers": (dtype(Q, torch.int32), "I32"),
    "8-bit integers": (dtype(Q, torch.int8), "I8"),
    "8-bit floats": (dtype(Q, torch.float8_e4m3fn), "F8_E4M3"),
    "booleans": (dtype(Q, torch.bool), "BOOL"),
    "NaN": (nan_at(float("nan")), "NaN or infinity"),
    "infinity": (nan_at(float("inf")), "NaN or infinity"),
    "other frequencies": (
        with_tensor("model.layers.0.self_attn.rotary_emb.inv_freq", torch.tensor([0.25, 0.02, 0.002, 0.0002])),
        "positions are encoded in another way",
    ),
    "weights cut": (cut(WEIGHTS, 20_000), WEIGHTS),
    "weights cut in the header": (cut(WEIGHTS, 100), WEIGHTS),
    "weights empty": (written(WEIGHTS, b""), "empty"),
    "weights of zeros": (written(WEIGHTS, bytes(5_000)), WEIGHTS),
    "a header of 2^60 bytes": (written(WEIGHTS, (2**60).to_bytes(8, "little") + b"{}"), WEIGHTS),
    "weights that are a pickle": (pickled(MARKER, WEIGHTS), WEIGHTS),
    "weights are an LFS pointer": (written(WEIGHTS, LFS_POINTER), "git lfs pull"),
    "config is an LFS pointer": (written(CONFIG, LFS_POINTER), "git lfs pull"),
    "tokenizer is an LFS pointer": (written(TOKENIZER, LFS_POINTER), "git lfs pull"),
    **{
        f"{file} is a {kind}": (replaced(file, make), file.split(".")[0])
        for file in (CONFIG, WEIGHTS, TOKENIZER, "chat_template.jinja", "tokenizer_config.json")
        for kind, make in (
            ("folder", lambda path: path.mkdir()),
            ("fifo", os.mkfifo),
            ("dangling link", lambda path: path.symlink_to(path.with_name("nowhere"))),
            ("link out", lambda path: path.symlink_to("/etc/passwd")),
            ("circular link", lambda path: path.symlink_to(path)),
        )
    },
    "index names a missing file": (sharded(lambda names: {**names, Q: "model-00002.safetensors"}), "model-00002"),
    "index with ..": (sharded(lambda names: {**names, Q: "../other/model.safetensors"}), r"\.\./other"),
    "index with an absolute path": (sharded(lambda names: {**names, Q: "/etc/passwd"}), "/etc/passwd"),
    "index with less": (sharded(lambda names: {key: file for key, file in names.items() if key != Q}), Q),
    "index with more": (sharded(lambda names: {**names, "more": "model-00001.safetensors"}), "more"),
    "index without a map": (sharded(weight_map=None), "weight_map"),
    "index of numbers": (sharded(weight_map={Q: 1}), "weight_map"),
    "index that is no JSON": (both(sharded(), written(INDEX, "{")), INDEX),
    # Configuration.
    "no config": (removed(CONFIG), CONFIG),
    "config is a list": (written(CONFIG, "[1]"), "list"),
    "config is empty JSON": (written(CONFIG, "{}"), CONFIG),
    "config is no JSON": (written(CONFIG, "{'a': 1}"), CONFIG),
    "config nested 100,000 deep": (written(CONFIG, '{"a":' * 100_000 + "1" + "}" * 100_000), CONFIG),
    "config nested 600 deep": (written(CONFIG, '{"a":' * 600 + "1" + "}" * 600), CONFIG),
    "config in UTF-16": (written(CONFIG, json.dumps({"model_type": "llama"}).encode("utf-16")), CONFIG),
    "config with a key twice": (written(CONFIG, '{"model_type": "llama", "model_type": "gpt2"}'), "twice"),
    "config with a number of 5,000 digits": (written(CONFIG, '{"a": ' + "9" * 5_000 + "}"), CONFIG),
    "config of 20 MB": (written(CONFIG, '{"a": "' + "x" * (20 << 20) + '"}'), "bytes"),
    "no architectures": (settings(CONFIG, architectures=None), "architectures"),
    "architectures empty": (settings(CONFIG, architectures=[]), "architectures"),
    "architectures of numbers": (settings(CONFIG, architectures=[1]), "."),
    "architectures of an encoder": (settings(CONFIG, architectures=["BertModel"]), "BertModel"),
    "architecture of a base model": (settings(CONFIG, architectures=["LlamaModel"]), "LlamaModel"),
    "unknown model_type": (settings(CONFIG, model_type="evil"), "evil"),
    "model_type of a number": (settings(CONFIG, model_type=3), CONFIG),
    "no model_type": (settings(CONFIG, model_type=None), CONFIG),
    "rope of an unknown kind": (settings(CONFIG, rope_parameters={"rope_type": "evil", "rope_theta": 1e4}), "."),
    "rope as text": (settings(CONFIG, rope_parameters="evil"), "."),
    "rope_theta 0": (settings(CONFIG, rope_parameters={"rope_type": "default", "rope_theta": 0.0}), "."),
    "epsilon as text": (settings(CONFIG, rms_norm_eps="small"), "."),
    "epsilon NaN": (settings(CONFIG, rms_norm_eps=float("nan")), "NaN"),
    "unknown activation": (settings(CONFIG, hidden_act="evil"), "."),
    "positions 64": (settings(CONFIG, max_position_embeddings=64), "64 positions"),
    "end token beyond": (settings("generation_config.json", eos_token_id=10**6), "eos_token_id=1000000"),
    "end token as text": (settings("generation_config.json", eos_token_id="</s>"), "."),
    "end token negative": (settings("generation_config.json", eos_token_id=[-1]), "eos_token_id=-1"),
    "a method's name as a setting": (settings(CONFIG, get_text_config="evil"), "."),
    **{name: (other_model(make), ".") for name, make in MODELS.items()},
    # Tokenizers.
    "no tokenizer": (removed(TOKENIZER, "tokenizer_config.json"), "no tokenizer"),
    "tokenizer is no JSON": (written(TOKENIZER, "{"), "tokenizer"),
    "tokenizer is empty JSON": (written(TOKENIZER, "{}"), "tokenizer"),
    "tokenizer is a list": (written(TOKENIZER, "[]"), "tokenizer"),
    "tokenizer without a model": (tokenizer(lambda found: found.pop("model")), "tokenizer"),
    "tokenizer nested 100,000 deep": (written(TOKENIZER, '{"a":' * 100_000 + "1" + "}" * 100_000), "tokenizer"),
    "tokenizer_config is a list": (written("tokenizer_config.json", "[]"), r"tokenizer_config\.json"),
    "tokens beyond the matrix": (tokenizer(lambda found: found["model"]["vocab"].update(new=V + 3)), "264"),
    "added tokens beyond the matrix": (added_token(V, "<new>", special=False), "261"),
    "special tokens beyond the matrix": (added_token(V, "<new>"), "261"),
    "a pattern that looks back without end": (pattern("(a+)+$|(x+x+)+y"), "tokenizer"),
    "a pattern that cannot be read": (pattern("("), "tokenizer"),
    "texts that double 48 times": (normalizers(*DOUBLING), "tokenizer"),
    "a broken charsmap": (normalizers({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "tokenizer"),
    "a normaliser that leaves nothing": (
        normalizers({"type": "Replace", "pattern": {"Regex": "[\\s\\S]"}, "content": ""}),
        "no tokens",
    ),
    "texts that double when they are decoded": (
        tokenizer(lambda found: found.update(decoder={"type": "Sequence", "decoders": DOUBLING})),
        "tokenizer",
    ),
    "words as tokens beyond the matrix": (
        settings("tokenizer_config.json", added_tokens_decoder={"999": {"content": "Town", "special": False}}),
        ".",
    ),
    "a letter as a control token": (added_token(99, "e"), "control token"),
    "labels 10^9": (settings(CONFIG, num_labels=10**9), "num_labels"),
    "an unknown type of numbers": (settings(CONFIG, dtype="evil"), "."),
    "sliding layers of an unknown kind": (settings(CONFIG, layer_types=["evil", "full_attention"]), "."),
    "a tokenizer_class that is a model": (
        settings("tokenizer_config.json", tokenizer_class="LlamaForCausalLM"),
        "no tokenizer",
    ),
    "a tokenizer_class that is a function": (
        settings("tokenizer_config.json", tokenizer_class="pipeline"),
        "tokenizer",
    ),
    "a tokenizer_class that is a number": (settings("tokenizer_config.json", tokenizer_class=3), "tokenizer"),
    "an end token that is new": (settings("tokenizer_config.json", eos_token="<|new|>"), "261"),
    "a longest text of letters": (settings("tokenizer_config.json", model_max_length="x"), "tokenizer"),
    "biases that are not there": (settings(CONFIG, attention_bias=True), "hold"),
    "a type that is code": (settings(CONFIG, dtype="__import__('os')"), CONFIG),
    "no end token": (
        both(
            settings("tokenizer_config.json", eos_token=None),
            template("{% for m in messages %}{{ m.content }}{% endfor %}"),
        ),
        "names no end token",
    ),
    # Templates.
    "template: syntax": (template("{% for m in messages %}{{ m.content "), "TemplateSyntaxError"),
    "template: undefined": (template("{{ nothing.more }}"), "UndefinedError"),
    "template: raises": (template("{{ raise_exception('no users\nplease') }}"), "no users"),
    "template: unknown filter": (template("{{ messages | evil }}"), "evil"),
    "template: division": (template("{{ 1 / 0 }}"), "ZeroDivisionError"),
    "template: types": (template("{{ 'a' + 1 }}"), "TypeError"),
    "template: key": (template("{{ {}['a']['b'] }}"), "UndefinedError"),
    "template: conversion": (template("{{ 'a' | int('b') + 1 }}"), "TypeError"),
    "template: recursion": (template("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"), "RecursionError"),
    "template: loops": (
        template(
            "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
            "{% endfor %}"
        ),
        "processor time",
    ),
    "template: doubling": (
        template(
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
        ),
        "MemoryError|memory",
    ),
    "template: gigabytes": (template("{{ 'abcdefgh' * 100000000 }}"), "characters|memory"),
    "template: power": (template("{{ 10 ** 10 ** 9 }}"), "chat template"),
    "template: format": (template("{{ '%9999999999d' % 1 }}"), "chat template"),
    "template: imports": (
        template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "SecurityError|UndefinedError|unsafe",
    ),
    "template: globals": (
        template("{{ cycler.__init__.__globals__.os.system('touch " + MARKER + "') }}"),
        "SecurityError|UndefinedError|unsafe",
    ),
    "template: attributes": (template("{{ messages | map(attribute='__class__.__init__') | list }}"), "chat template"),
    "template: includes": (template("{% include '/etc/passwd' %}"), "chat template"),
    "template: surrogates": (template("{{ '\\ud800' }}{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"), "."),
    "template: leaves out messages": (template("hello"), "leaves out the message"),
    "template: capitals": (template(CHAT_TEMPLATE.replace("m['content']", "m['content'] | upper")), "chat template"),
    "template: cuts messages": (
        template(CHAT_TEMPLATE.replace("m['content']", "m['content'][:400]")),
        "changes messages",
    ),
    "template: by content": (
        template("{% if messages[0].content | length > 999 %}Lie! {% endif %}" + CHAT_TEMPLATE),
        "changes messages",
    ),
    "template: a number": (
        both(removed("chat_template.jinja"), settings("tokenizer_config.json", chat_template=3)),
        ".",
    ),
    "template: none is default": (
        both(
            removed("chat_template.jinja"),
            settings("tokenizer_config.json", chat_template=[{"name": "a", "template": "b"}]),
        ),
        "default",
    ),
    "template: not UTF-8": (written("chat_template.jinja", b"\xff\xfe{{ 1 }}"), "."),
    "template: 20 MB": (template("x" * (20 << 20)), "bytes"),
}
"""Changes of a checkpoint folder, and what the message must contain."""

OF_CODE = ("auto_map", "pipelines", "kernel", "pickle", "adapter", "imports", "globals")
"""What the names of changes that would run code contain."""

WORKS = {
    "unchanged": lambda folder: None,
    "sharded": sharded(),
    "Python files beside": code(
        MARKER, "evil.py", "modeling_llama.py", "tokenizer.py", "sitecustomize.py", "conftest.py"
    ),
    "pickles beside": pickled(MARKER, "pytorch_model.bin", "adapter_model.bin", "optimizer.pt", "training_args.bin"),
    "a processor's auto_map": settings("preprocessor_config.json", auto_map=AUTO),
    "code that generates": both(
        lambda folder: (folder / "custom_generate").mkdir(), code(MARKER, "custom_generate/generate.py")
    ),
    "requirements": written("requirements.txt", "evil-package\n"),
    "a null auto_map": settings(CONFIG, auto_map={}),
    "plain attention": settings(CONFIG, attn_implementation="sdpa", _attn_implementation="eager"),
    "tuples in the place of outputs": settings(CONFIG, return_dict=False, output_attentions=True),
    "paths in the tokenizer's settings": settings(
        "tokenizer_config.json", tokenizer_file="/etc/passwd", vocab_file="/"
    ),
    "texts cut by the tokenizer": tokenizer(
        lambda found: found.update(
            truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
        )
    ),
    "half precision": tensors(lambda found: {name: one.half() for name, one in found.items()}),
    "a byte order mark": lambda folder: (folder / CONFIG).write_text("\ufeff" + (folder / CONFIG).read_text()),
    "usual frequencies": with_tensor(
        "model.layers.0.self_attn.rotary_emb.inv_freq", 1 / 10_000 ** (torch.arange(0, 8, 2) / 8)
    ),
    "a date": template("{{ strftime_now('%Y-%m-%d') }} {{ date_string }} " + CHAT_TEMPLATE),
    "a template that strips": template(CHAT_TEMPLATE.replace("m['content']", "m['content'] | trim")),
    "a template with a generation block": template(
        CHAT_TEMPLATE.replace("{% for", "{% generation %}{% endgeneration %}{% for")
    ),
    "a tied head": other_model(lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, tie_word_embeddings=True))),
    "qwen 2": other_model(lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SIZES))),
    "qwen 3": other_model(lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES, head_dim=8))),
    "mistral": other_model(lambda: hf.MistralForCausalLM(hf.MistralConfig(**SIZES))),
    "mixtral": other_model(lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**SIZES, num_local_experts=4))),
    "olmo 2": other_model(lambda: hf.Olmo2ForCausalLM(hf.Olmo2Config(**SIZES))),
    "granite, scaled logits": other_model(
        lambda: hf.GraniteForCausalLM(hf.GraniteConfig(**SIZES, logits_scaling=1.02))
    ),
    "cohere, scaled logits": other_model(lambda: hf.CohereForCausalLM(hf.CohereConfig(**SIZES))),
    "smollm 3": other_model(lambda: hf.SmolLM3ForCausalLM(hf.SmolLM3Config(**SIZES))),
    "mamba": other_model(
        lambda: hf.MambaForCausalLM(hf.MambaConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2))
    ),
    "lfm2": other_model(lambda: hf.Lfm2ForCausalLM(hf.Lfm2Config(**SIZES, layer_types=["conv", "full_attention"]))),
    "stablelm": other_model(lambda: hf.StableLmForCausalLM(hf.StableLmConfig(**SIZES))),
    "bloom": other_model(
        lambda: hf.BloomForCausalLM(hf.BloomConfig(vocab_size=V, hidden_size=32, n_layer=2, n_head=4))
    ),
    "gemma 2, capped logits": other_model(lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**SIZES, head_dim=16))),
    "gpt-oss, sinks": other_model(
        lambda: hf.GptOssForCausalLM(
            hf.GptOssConfig(
                **SIZES, head_dim=8, num_local_experts=4, num_experts_per_tok=2, layer_types=["full_attention"] * 2
            )
        )
    ),
    "gemma 3, text": other_model(lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**{**SIZES, "head_dim": 16}))),
}
"""Changes with which a model still works."""

ENTRIES = {
    "rope scaling": {"llama.rope.scaling.type": ("string", "yarn")},
    "rope factor": {"llama.rope.scaling.factor": ("float32", 4.0)},
    "linear scale": {"llama.rope.scale_linear": ("float32", 2.0)},
    "capped logits": {"llama.final_logit_softcapping": ("float32", 30.0)},
    "scaled logits": {"llama.logit_scale": ("float32", 0.5)},
    "window": {"llama.attention.sliding_window": ("uint32", 64)},
    "experts": {"llama.expert_count": ("uint32", 4)},
    "unknown": {"llama.new_thing": ("uint32", 1)},
    "space before a text": {"tokenizer.ggml.add_space_prefix": ("bool", True)},
}
GGUF_REFUSED = {
    **{
        name: (lambda path, e=entries: write_gguf(path, entries=e), next(iter(entries)))
        for name, entries in ENTRIES.items()
    },
    "head width": (
        lambda path: write_gguf(path, entries={"llama.attention.key_length": ("uint32", 16)}),
        r"attention\.key_length 16",
    ),
    "numbers merged that are split": (
        lambda path: write_gguf(path, merge="1 9", entries={"tokenizer.ggml.pre": ("string", "smollm")}),
        r"tokenizer\.ggml\.pre",
    ),
    "vocabulary": (lambda path: write_gguf(path, entries={"llama.vocab_size": ("uint32", 999)}), "embed_tokens"),
    "rope_freqs": (lambda path: write_gguf(path, added={"rope_freqs.weight": np.full(4, 8, np.float32)}), "rope_freqs"),
    "unknown tensor": (
        lambda path: write_gguf(path, added={"blk.0.gate.weight": np.ones(4, np.float32)}),
        "blk.0.gate",
    ),
    "tensor of a third layer": (
        lambda path: write_gguf(path, added={"blk.2.attn_norm.weight": np.ones(32, np.float32)}),
        "numbers",
    ),
    "a tensor is missing": (lambda path: write_gguf(path, left_out=["blk.1.ffn_up.weight"]), "up_proj"),
    "NaN": (
        lambda path: write_gguf(
            path, left_out=["output_norm.weight"], added={"output_norm.weight": np.full(32, np.nan, np.float32)}
        ),
        "NaN",
    ),
    "unknown architecture": (lambda path: write_gguf(path, architecture="evil"), "."),
    "endless template": (
        lambda path: write_gguf(
            path, template="{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        ),
        "processor time",
    ),
    "no GGUF": (lambda path: path.write_bytes(b"GIF89a" + bytes(64)), "GGUF"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "an LFS pointer": (lambda path: path.write_text(LFS_POINTER), "git lfs pull"),
    "counts of 2^60": (
        lambda path: path.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + (2**60).to_bytes(8, "little") * 2),
        "GGUF",
    ),
    "cut": (lambda path: path.write_bytes(write_gguf(path).read_bytes()[:9_000]), "GGUF"),
    "cut in the weights": (lambda path: path.write_bytes(write_gguf(path).read_bytes()[:-500]), "GGUF"),
    "a folder": (lambda path: path.mkdir(), "no GGUF file"),
    "a fifo": (os.mkfifo, "no GGUF file"),
}
GGUF_WORKS = {
    "unchanged": {},
    "no scaling": {"llama.rope.scaling.type": ("string", "none"), "llama.rope.scaling.factor": ("float32", 1.0)},
    "frequencies of ones": {},
    "no space before a text": {"tokenizer.ggml.add_space_prefix": ("bool", False)},
    "an end token after texts": {"tokenizer.ggml.add_eos_token": ("bool", True)},
    "a pattern of splitting": {"tokenizer.ggml.pre": ("string", "llama-bpe")},
}
NAMES = [
    "no/such-model",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a\0b",
    "x" * 5_000,
    "x/" * 200,
    "",
    " ",
    "-",
    "\x1b[31mred",
    "evil/repo--code",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("hostile") / "model")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_squad(tmp_path_factory.mktemp("questions") / "test.json", num_articles=1)


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """No network, a cache of the test's own, a standard input that says yes to everything, and no marker yet."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
    if os.path.lexists(MARKER):
        Path(MARKER).unlink()


@pytest.fixture
def run(thinwire, questions, surroundings):
    """Run ``thinwire evaluate`` on a model; returns exit code, standard output, standard error, and the seconds."""

    def evaluate(name):
        start = time.perf_counter()
        status, out, err = thinwire("evaluate", name, "--data", questions, "--samples", 2, "--device", "cpu")
        assert not os.path.lexists(MARKER), "code of the model has run"
        return status, out, err, time.perf_counter() - start

    return evaluate


@pytest.fixture
def sweep(thinwire, surroundings, tmp_path):
    """Run ``thinwire sweep`` with a model, as ``run`` does ``evaluate``."""
    write_squad(tmp_path / "train.json")
    write_squad(tmp_path / "test.json", num_articles=2, first=6)
    (tmp_path / "model").mkdir()
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump(experiment(tmp_path).model_dump(mode="json", exclude_defaults=True))
    )

    def run_sweep(name):
        start = time.perf_counter()
        status, out, err = thinwire(
            "sweep", tmp_path / "sweep.yaml", "--set", f"model.name={name}", "-o", tmp_path / "run"
        )
        assert not os.path.lexists(MARKER), "code of the model has run"
        return status, out, err, time.perf_counter() - start

    return run_sweep


def in_a_process(name, questions):
    """Run the command in a process of its own, whose standard input says yes."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "thinwire", "evaluate", str(name), "--data", str(questions), "--device", "cpu"]
    ended = subprocess.run(command, input="y\n" * 100, capture_output=True, text=True, timeout=300, check=False)
    assert not os.path.lexists(MARKER), "code of the model has run"
    return ended.returncode, ended.stdout, ended.stderr, time.perf_counter() - start


def assert_refused(found, message, most_seconds=MOST_SECONDS):
    status, out, err, seconds = found
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if not line[:8].replace(":", "").isdigit()]  # without the log's
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert len(lines[0]) < 1_000
    assert seconds < most_seconds
    assert re.search(message, lines[0]), lines[0]


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_checkpoint_is_refused_in_one_line_and_runs_no_code(
    case, model, run, sweep, questions, tmp_path, long_form
):
    change, message = REFUSED[case]
    folder = tmp_path / "changed"
    shutil.copytree(model, folder)
    change(folder)
    assert_refused(run(folder), message)
    if long_form:
        assert_refused(sweep(folder), message)
    if long_form and any(word in case for word in OF_CODE):
        assert_refused(in_a_process(folder, questions), message, MOST_SECONDS_OF_A_PROCESS)


@pytest.mark.parametrize("case", WORKS)
def test_a_harmless_checkpoint_works_and_runs_no_code(case, model, run, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(model, folder)
    WORKS[case](folder)
    status, out, err, _ = run(folder)
    assert (status, out.startswith("F1 ")) == (0, True), err


@pytest.mark.parametrize("case", GGUF_REFUSED)
def test_a_hostile_gguf_file_is_refused_in_one_line(case, run, tmp_path):
    make, message = GGUF_REFUSED[case]
    make(tmp_path / "changed.gguf")
    assert_refused(run(tmp_path / "changed.gguf"), message)


@pytest.mark.parametrize("case", GGUF_WORKS)
def test_a_harmless_gguf_file_works(case, run, tmp_path):
    ones = {"rope_freqs.weight": np.ones(4, np.float32)} if case == "frequencies of ones" else {}
    write_gguf(tmp_path / "changed.gguf", entries=GGUF_WORKS[case], added=ones)
    status, out, err, _ = run(tmp_path / "changed.gguf")
    assert (status, out.startswith("F1 ")) == (0, True), err


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_a_name_that_is_no_model_is_refused_in_one_line(name, run):
    assert_refused(run(name), ".")
