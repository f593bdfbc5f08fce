/** What models write whose arguments stand between tags, well-formed and not. */
import { call, none, testFamilies } from "./family-cases.ts";

const NS = "]<]minimax[>[";

testFamilies({
  "qwen-xml": [
    {
      what: "types come from the schema",
      output:
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=hot>\nTrue\n</parameter>\n" +
        "<parameter=at>\nNone\n</parameter>\n<parameter=unit>\nC\n</parameter>\n<parameter=place>\n{'lat': 1.50, 'names': ['it\\'s', \"b\"]}\n</parameter>\n" +
        '<parameter=tags>\n["a"]\n</parameter>\n<parameter=either>\n1.0\n</parameter>\n</function>\n</tool_call>',
      expected: {
        text: "",
        calls: [
          call(
            '{"city": "12", "days": 3, "hot": true, "at": null, "unit": "C", "place": {"lat": 1.50, "names": ["it\'s", "b"]}, "tags": ["a"], "either": 1.0}',
          ),
        ],
      },
    },
    {
      what: "what does not fit its type is a string; parameters without a schema are what they look like",
      output:
        '<tool_call><function=get_weather><parameter=days>many</parameter><parameter=hot>1</parameter><parameter=x>{"a": [1]}</parameter><parameter=y>so so</parameter></function></tool_call>',
      expected: { calls: [call('{"days": "many", "hot": "1", "x": {"a": [1]}, "y": "so so"}')] },
    },
    {
      what: "line breaks around a value are the format's, those inside are its own",
      output: "<tool_call>\n<function=get_weather>\n<parameter=city>\n\n a\nb \n\n</parameter>\n</function>\n</tool_call>",
      expected: { calls: [call('{"city": "\\n a\\nb \\n"}')] },
    },
    {
      what: "a value may hold the tag that ends it",
      output:
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n</parameter> and <parameter=x>\n</parameter>\n</function>\n</tool_call>",
      expected: { calls: [call('{"city": "</parameter> and <parameter=x>"}')] },
    },
    {
      what: "even with the end of the call behind it",
      output:
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n<a>\n</parameter>\n</function></a>\n</parameter>\n</function>\n</tool_call>",
      expected: { text: "", calls: [call('{"city": "<a>\\n</parameter>\\n</function></a>"}')] },
    },
    {
      what: "text where the outer tag should end",
      output: "<tool_call>\n<function=get_weather>\n<parameter=days>\n1\n</parameter>\n</function>\nDone.",
      expected: { text: "Done.", calls: [call('{"days": 1}')] },
    },
    {
      what: "the outer tag may be missing, or the function's end",
      output: "Ok.\n<function=now>\n</function>\n<tool_call>\n<function=now>\n</tool_call>\nDone.",
      expected: { text: "Ok.Done.", calls: [call("{}", "now"), call("{}", "now")] },
    },
    {
      what: "a call in JSON",
      output: '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
      expected: { text: "", calls: [call("{}", "now")] },
    },
    {
      what: "a call ends reasoning",
      startsInReasoning: true,
      output: "I should look. <tool_call>\n<function=now>\n</function>\n</tool_call>",
      expected: { reasoning: "I should look.", text: "", calls: [call("{}", "now")] },
    },
    {
      what: "speaking of the tag does not",
      startsInReasoning: true,
      output: "I could use <tool_call> here.</think>No.",
      expected: { reasoning: "I could usehere.", text: "No.", calls: none },
    },
    {
      what: "an unfinished call",
      output: "<tool_call>\n<function=get_weather>\n<parameter=city>\nOs",
      expected: { text: "get_weather>\n<parameter=city>\nOs", calls: [call('{"city": "Os', "get_weather", false)] },
    },
    { what: "no call", output: "<tool_call>what?</tool_call> Hm.", expected: { text: "what?Hm.", calls: none } },
    {
      what: "names that are no tool's are calls all the same: the client says so to the model",
      output: "<tool_call>\n<function=nothing>\n</function>\n</tool_call>",
      expected: { text: "", calls: [call("{}", "nothing")] },
    },
  ],
  glm: [
    {
      what: "lines",
      output:
        "\n<think>Hm.</think>\nOk.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo\n</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
      expected: { reasoning: "Hm.", text: "Ok.", calls: [call('{"city": "Oslo\\n", "days": 2}')] },
    },
    {
      what: "without lines",
      output:
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>a</arg_value> and b</arg_value></tool_call><tool_call>now</tool_call>",
      expected: { text: "", calls: [call('{"city": "a</arg_value> and b"}'), call("{}", "now")] },
    },
    { what: "no call", output: "<tool_call>so it goes</tool_call>.", expected: { text: "so it goes.", calls: none } },
  ],
  "deepseek-dsml": [
    {
      what: "the model says what is a string",
      output:
        '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">12\n</｜DSML｜parameter>\n<｜DSML｜parameter name="either" string="true">1</｜DSML｜parameter>\n<｜DSML｜parameter name="z" string="false">[1]</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>',
      expected: { text: "", calls: [call('{"city": "12\\n", "either": "1", "z": [1]}')] },
    },
    {
      what: "unfinished",
      output: '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="now">\n',
      expected: { text: 'now">\n', calls: [call("", "now", false)] },
    },
  ],
  "minimax-m2": [
    {
      what: "calls",
      output:
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">a <b>\n</parameter>\n<parameter name="days">2</parameter>\n</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>',
      expected: { text: "", calls: [call('{"city": "a <b>\\n", "days": 2}'), call("{}", "now")] },
    },
  ],
  "minimax-m3": [
    {
      what: "objects and arrays are elements",
      output: `Ok.${NS}<tool_call>\n${NS}<invoke name="get_weather">${NS}<city>5 < 6${NS}</city>${NS}<place>${NS}<lat>1.5${NS}</lat>${NS}<names>${NS}<item>a${NS}</item>${NS}<item>true${NS}</item>${NS}</names>${NS}</place>${NS}<tags>${NS}</tags>${NS}</invoke>\n${NS}<invoke name="now">${NS}</invoke>\n${NS}</tool_call>`,
      expected: {
        text: "Ok.",
        calls: [call('{"city": "5 < 6", "place": {"lat": 1.5, "names": ["a", "true"]}, "tags": []}'), call("{}", "now")],
      },
    },
    {
      what: "without a schema elements are what they look like",
      output: `${NS}<invoke name="now">${NS}<a>1${NS}</a>${NS}<b>${NS}<item>x${NS}</item>${NS}<item>${NS}<k>y${NS}</k>${NS}</item>${NS}</b>${NS}</invoke>`,
      expected: { calls: [call('{"a": 1, "b": ["x", {"k": "y"}]}', "now")] },
    },
    {
      what: "tags that do not match",
      output: `${NS}<invoke name="now">${NS}<a>1${NS}</b>${NS}</invoke>`,
      expected: { text: 'now"><a>1</b></invoke>', calls: [call('{"a": ', "now", false)] },
    },
  ],
  seed: [
    {
      what: "reasoning with its count, then a call",
      output:
        "<seed:think>a <seed:cot_budget_reflect>I have used 9 tokens.</seed:cot_budget_reflect> b</seed:think>Ok.\n<seed:tool_call>\n<function=get_weather>\n<parameter=city>x\n</parameter>\n<parameter=tags>['a', 'b']</parameter>\n</function>\n</seed:tool_call>",
      expected: { reasoning: "a I have used 9 tokens. b", text: "Ok.", calls: [call('{"city": "x\\n", "tags": ["a", "b"]}')] },
    },
  ],
});
