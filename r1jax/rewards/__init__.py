"""Reward functions: each scores one rollout, and `combine` adds the scores up by the weights of `RewardConfig`.

    part             score    of                                        function
    accuracy         0 to 1   a right final answer, by the row's grader graders.grader_table.grade
    format           0 or 1   a response in its format                  format_rewards.well_formed
    language         0 to 1   thought in the target language            language_consistency.consistency
    repetition      -1 to 0   repeated word n-grams                     format_rewards.repetition_penalty
    overlong        -1 to 0   tokens near the limit (DAPO)              format_rewards.soft_overlong_penalty
    random           0 or 1   a coin flip, as a control                 combine.coin_flip
    judge            0 to 1   a judge's preference over the reference   graders.judge_client.Judge.submit
    model/<name>     any      a trained reward model                    inference.reward_scoring.RewardModel
    custom/<name>    any      a function of the user's own              custom_rewards.call

A score of None means that the rollout cannot be graded. `combine.grade` computes the first six parts;
`grader_pool.GraderPool` runs it in processes that can be killed, and adds the judge's and the custom ones.
"""
