#!/usr/bin/env bash
# Every grader over public datasets: the tables in docs/rewards.md.
#
#   ./launch_local.sh experiments/audit.sh DATA     11 minutes on 2 CPU cores, 10 of them for programs
#   ./launch_local.sh experiments/audit.sh          the sets that the Hugging Face hub has, fetched; not run yet
#
# DATA holds a folder a dataset, with JSONL files of {"id", "prompt", "answer"} and what else the grader needs, made from
# the files below (repository@commit/path on GitHub). Of each reference program one gross and one subtle mutant is run.
# Without DATA the sets come from the splits that docs/evaluation.md lists: other copies, with other rows, so that the
# tables of the page stay as they are.
#
#   math500                       hkust-nlp/simpleRL-reason@cf1c785/examples/simplelr_math_eval/data/math500/test.jsonl
#   math                          agentica-project/rllm@874daa4/rllm/data/train/math/math.json (train);
#                                 microsoft/ToRA@213c1c9/src/data/math/test.jsonl (test)
#   aime2024, amc23, cn_middle_school   QwenLM/Qwen2.5-Math@a45202b/evaluation/data/NAME/test.jsonl
#   aime_1983_2023                agentica-project/rllm@874daa4/rllm/data/train/math/aime.json
#   gsm8k, gsm8k_model_solutions  openai/grade-school-math@3101c7d/grade_school_math/data
#   asdiv, mawps                  microsoft/ToRA@213c1c9/src/data/NAME/test.jsonl
#   cnmo2024                      GAIR-NLP/LIMO@2284c6a/eval/data/cn_math_2024/test.jsonl
#   cmath, mgsm_zh                deepseek-ai/DeepSeek-Math@b8b0f8c/evaluation/datasets; cmath's validation: Qwen2.5-Math
#   math3k_cot                    GAIR-NLP/cs2916@1953134/2025/hw1/data/train/math3k_cot.jsonl
#   countdown                     dllm-reasoning/d1@837888f/dataset/countdown_cd3_test.jsonl
#   math_cot_100                  QwenLM/Qwen2.5-Math@a45202b/evaluation/data/eval_rm_maj_example/math_cot_100.jsonl
#   mmlu, ceval                   NovaSky-AI/SkyThought@0d190f1/skythought/train/LLaMA-Factory/evaluation
#   cluewsc2020                   LowinLi/Transformers4CLUEWSC2020@746b1a1/dataset
#   humaneval                     openai/human-eval@6d43fb9/data/HumanEval.jsonl.gz
#   mbpp                          deepseek-ai/DeepSeek-Coder@2f9fd85/Evaluation/MBPP/data/mbpp.jsonl
#   leetcode, codeforces, code_contests   agentica-project/rllm@874daa4/rllm/data/{train,test}/code
#   livecodebench_v5              QwenLM/QwQ@620a5ea/eval/data/livecodebench_v5.jsonl
set -euo pipefail
[[ ${1:-} != -* ]] || { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; exit; }  # --help
data=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."

if [[ -z $data ]]; then
  answers=(math500 math=DigitalLearningGmbH/MATH-lighteval:{test,train} aime2024 aime_1983_2023 amc23 gsm8k
    gsm8k=openai/gsm8k:main:train asdiv mawps cmath mgsm_zh mmlu mmlu=cais/mmlu:all:validation cluewsc)
  programs=(humaneval mbpp leetcode codeforces code_contests)
  r1jax audit --workdir runs/audit/hub_answers --data "${answers[@]}"
  r1jax audit --workdir runs/audit/hub_programs --data "${programs[@]}" --mutants 1 --timeout 6
  exit
fi

answers=(math500/test math/test math/train aime2024/test aime_1983_2023/train amc23/test gsm8k/test gsm8k/train
  asdiv/test mawps/test cnmo2024/test cn_middle_school/test cmath/validation cmath/test mgsm_zh/test math3k_cot/train
  countdown/test math_cot_100/test gsm8k_model_solutions/test mmlu/val mmlu/test ceval/val cluewsc2020/dev)
programs=(humaneval/test mbpp/all leetcode/train codeforces/test code_contests/test livecodebench_v5/test)

answers=("${answers[@]/#/$data/}")
programs=("${programs[@]/#/$data/}")
r1jax audit --workdir runs/audit/answers --data "${answers[@]/%/.jsonl}"
r1jax audit --workdir runs/audit/programs --data "${programs[@]/%/.jsonl}" --mutants 1 --timeout 6

# Both tables go between the page's markers.
cat runs/audit/answers/table.md <(echo) runs/audit/programs/table.md > runs/audit/tables.md
sed -i -e '/<!-- audit -->/,/<!-- \/audit -->/{//!d}' -e '/<!-- audit -->/r runs/audit/tables.md' docs/rewards.md
