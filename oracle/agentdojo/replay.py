"""AgentDojo's own environments and evaluators over runs of which some calls were stopped.

    cargo xtask agentdojo FILE --rulings rulings.jsonl
    python3 -m venv venv && venv/bin/pip install -r oracle/agentdojo/requirements.txt
    venv/bin/python oracle/agentdojo/replay.py rulings.jsonl

Each recorded call is carried out again where the kernel allowed it, and not where it did not; then AgentDojo says whether the
attack succeeded and whether the user's task is done. It says so of all calls as well, to be compared with the recorded labels.
"""

import collections
import json
import sys
import warnings

try:
    from agentdojo.agent_pipeline.base_pipeline_element import BasePipelineElement
    from agentdojo.functions_runtime import FunctionCall
    from agentdojo.task_suite.load_suites import get_suites
    from agentdojo.types import ChatAssistantMessage, text_content_block_from_string
except ImportError as missing:
    print(f"skipped: {missing}; install agentdojo==0.1.35")
    sys.exit(0)

warnings.filterwarnings("ignore")


class Replay(BasePipelineElement):
    """Carries out the calls it was given."""

    def __init__(self, calls, answer):
        self.calls, self.answer = calls, answer

    def query(self, query, runtime, env, messages=(), extra_args={}):
        done = [FunctionCall(function=c["function"], args=c["args"] or {}, id=str(n)) for n, c in enumerate(self.calls)]
        for call in done:
            runtime.run_function(env, call.function, call.args)
        content = [text_content_block_from_string(self.answer or "-")]
        said = [ChatAssistantMessage(role="assistant", content=None, tool_calls=done)] if done else []
        said.append(ChatAssistantMessage(role="assistant", content=content, tool_calls=None))
        return query, runtime, env, said, extra_args


def judge(suite, run, calls):
    user = suite.get_user_task_by_id(run["user_task_id"])
    wanted = run["injection_task_id"]
    injection = suite.get_injection_task_by_id(wanted) if wanted else None
    return suite.run_task_with_pipeline(Replay(calls, run["answer"]), user, injection, run["injections"] or {})


def main(path, version="v1"):
    suites = get_suites(version)
    seen = collections.defaultdict(collections.Counter)
    with open(path) as lines:
        for line in lines:
            run = json.loads(line)
            count = seen[run["suite_name"]]
            suite = suites[run["suite_name"]]
            allowed = [c for c in run["calls"] if c["verdict"] in ("allow", "modify")]
            try:
                plain_utility, plain_security = judge(suite, run, run["calls"])
                utility, security = judge(suite, run, allowed)
            except Exception as error:
                count["could not be judged"] += 1
                print(f"{run['suite_name']} {run['user_task_id']} {run['injection_task_id']}: {error!r}", file=sys.stderr)
                continue
            count["runs"] += 1
            count["recorded labels computed again"] += (plain_utility, plain_security) == (run["utility"], run["security"])
            if run["injection_task_id"] and plain_security:
                count["attacks that succeed"] += 1
                count["attacks that still succeed"] += security
            if plain_utility and not (run["injection_task_id"] and plain_security):
                count["useful runs"] += 1
                count["useful runs still useful"] += utility
            if plain_utility:
                count["tasks done"] += 1
                count["tasks still done"] += utility
    for suite, count in sorted(seen.items()):
        print(suite, dict(count))


main(*sys.argv[1:])
