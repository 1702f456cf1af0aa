package lambdaapi_test

import (
	"maps"
	"strings"
)

// eventScenarios are those of asynchronous invocation.
func eventScenarios() map[string]scenario {
	return map[string]scenario{
		"TestLambdaEventInvokeConfig::test_lambda_eventinvokeconfig_exceptions": eventConfigErrors,
		"TestLambdaEventInvokeConfig::test_lambda_eventinvokeconfig_lifecycle":  eventConfigLifecycle,
		"TestLambdaRecursion::test_put_function_recursion_config_allow": func(s *session) {
			s.fixture("", nil)
			s.do("put_recursion_config_response", "PutFunctionRecursionConfig", m{"FunctionName": s.fn, "RecursiveLoop": "Allow"})
			s.do("get_recursion_config_response", "GetFunctionRecursionConfig", m{"FunctionName": s.fn})
		},
	}
}

// events is a call of one of the operations, named by the first word of the step's
// own name unless it is given.
func (s *session) events(step, verb, function string, members m) {
	s.t.Helper()
	in := m{"FunctionName": function}
	maps.Copy(in, members)
	operation := verb + "FunctionEventInvokeConfig"
	if verb == "List" {
		operation += "s"
	}
	s.do(step, operation, in)
}

func eventConfigLifecycle(s *session) {
	s.fixture("", nil)
	latest, one := m{"Qualifier": "$LATEST"}, m{"Qualifier": "1"}
	s.events("put_invokeconfig_retries_0", "Put", s.fn, m{"MaximumRetryAttempts": 0})
	s.events("put_invokeconfig_eventage_60", "Put", s.fn, m{"MaximumEventAgeInSeconds": 60})
	s.events("update_invokeconfig_eventage_nochange", "Update", s.fn, m{"MaximumEventAgeInSeconds": 60})
	s.events("update_invokeconfig_retries", "Update", s.fn, m{"MaximumRetryAttempts": 1})
	s.events("get_invokeconfig", "Get", s.fn, nil)
	s.events("get_invokeconfig_latest", "Get", s.fn, latest)
	s.events("list_single_invokeconfig", "List", s.fn, nil)
	s.do("publish_version_result", "PublishVersion", m{"FunctionName": s.fn})
	s.events("get_invokeconfig_postpublish", "Get", s.fn, one)
	s.events("put_published_invokeconfig", "Put", s.fn, m{"Qualifier": "1", "MaximumEventAgeInSeconds": 120})
	s.events("get_published_invokeconfig", "Get", s.fn, one)
	s.send("DeleteFunctionEventInvokeConfig", m{"FunctionName": s.fn})
	s.events("list_paging_nolimit_postdelete", "List", s.fn, nil)
}

func eventConfigErrors(s *session) {
	const arn = "arn:aws:lambda:us-east-1:" + account + ":function:"
	other := s.fn + "-other"
	s.fixture("", nil)
	s.fixture("", m{"FunctionName": other})
	s.do("fn_version_result", "PublishVersion", m{"FunctionName": s.fn})
	s.do("fn_alias_result", "CreateAlias", m{"FunctionName": s.fn, "FunctionVersion": "1", "Name": "eventinvokealias"})
	to := func(on, arn string) m { return m{"DestinationConfig": m{on: m{"Destination": arn}}} }
	retries := m{"MaximumRetryAttempts": 1}
	with := func(qualifier string) m { return m{"MaximumRetryAttempts": 1, "Qualifier": qualifier} }

	s.events("put_functionname_name_notfound", "Put", "doesnotexist", retries)
	s.events("put_functionname_arn_notfound", "Put", arn+"doesnotexist", retries)
	s.events("put_functionname_nootherargs", "Put", s.fn, nil)
	s.events("put_destination_lambda_doesntexist", "Put", s.fn, to("OnSuccess", arn+"doesnotexist"))
	s.events("put_destination_recursive", "Put", s.fn, to("OnSuccess", arn+s.fn))
	s.events("put_destination_other_lambda", "Put", s.fn, to("OnSuccess", arn+other))
	s.events("put_destination_invalid_service_arn", "Put", s.fn, to("OnSuccess", strings.Replace(arn, ":lambda:", ":iam:", 1)+s.fn))
	s.events("put_destination_success_no_destination_arn", "Put", s.fn, m{"DestinationConfig": m{"OnSuccess": m{}}})
	s.events("put_destination_failure_no_destination_arn", "Put", s.fn, m{"DestinationConfig": m{"OnFailure": m{}}})
	s.events("put_destination_invalid_arn_pattern", "Put", s.fn, to("OnFailure", strings.Replace(arn, ":lambda:", ":_-/!lambda:", 1)+s.fn))
	s.events("put_destination_latest", "Put", s.fn, retries)
	s.events("put_destination_latest_explicit_qualifier", "Put", s.fn, with("$LATEST"))
	s.events("put_destination_version", "Put", s.fn, with("1"))
	s.events("put_alias_functionname_qualifier", "Put", s.fn, with("eventinvokealias"))
	s.events("put_alias_doesnotexist", "Put", s.fn, with("doesnotexist"))
	s.events("put_alias_qualifiedarn", "Put", arn+s.fn+":eventinvokealias", retries)
	s.events("put_alias_qualifiedarn_qualifier", "Put", arn+s.fn+":eventinvokealias", with("eventinvokealias"))
	s.events("put_alias_qualifiedarn_qualifierconflict", "Put", arn+s.fn+":eventinvokealias", with("1"))
	s.events("put_alias_shorthand", "Put", s.fn+":eventinvokealias", retries)
	s.events("put_alias_shorthand_qualifier", "Put", s.fn+":eventinvokealias", with("eventinvokealias"))
	s.events("put_alias_shorthand_qualifierconflict", "Put", s.fn+":eventinvokealias", with("1"))
	s.events("put_version_shorthand", "Put", s.fn+":1", retries)
	s.events("put_shorthand_qualifier_match", "Put", s.fn+":$LATEST", with("$LATEST"))
	s.events("put_shorthand_qualifier_mismatch_1", "Put", s.fn+":1", with("$LATEST"))
	s.events("put_shorthand_qualifier_mismatch_2", "Put", s.fn+":$LATEST", with("1"))
	s.events("put_shorthand_qualifier_mismatch_3", "Put", s.fn+":eventinvokealias", with("$LATEST"))
	s.events("put_maxevent_maxvalue_result", "Put", s.fn, m{"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 21600})

	s.events("put_pre_overwrite", "Put", s.fn, m{"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60})
	s.events("put_post_overwrite", "Put", s.fn, m{"MaximumRetryAttempts": 0})
	s.events("second_overwrite_existing_response", "Put", s.fn, m{"MaximumRetryAttempts": 0})
	s.events("get_post_overwrite", "Get", s.fn, nil)
	s.events("pre_update_response", "Put", s.fn, m{"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60})
	s.events("update_response", "Update", s.fn, m{"MaximumRetryAttempts": 0})
	s.events("update_response_existing", "Update", s.fn, m{"MaximumRetryAttempts": 0})

	s.events("list_configs", "List", s.fn, nil)
	s.events("delete_latest", "Delete", s.fn, m{"Qualifier": "$LATEST"})
	s.events("delete_version", "Delete", s.fn, m{"Qualifier": "1"})
	s.events("delete_alias", "Delete", s.fn, m{"Qualifier": "eventinvokealias"})
	s.events("list_configs_postdelete", "List", s.fn, nil)
	s.events("delete_function_not_found", "Delete", s.fn, nil)
	s.events("delete_function_doesnotexist", "Delete", "doesnotexist", nil)
	s.events("list_function_doesnotexist", "List", "doesnotexist", nil)
	s.events("get_function_doesnotexist", "Get", "doesnotexist", nil)
	s.events("get_qualifier_doesnotexist", "Get", s.fn, m{"Qualifier": "doesnotexist"})
	s.events("update_eventinvokeconfig_function_doesnotexist", "Update", "doesnotexist", retries)
	s.events("get_eventinvokeconfig_doesnotexist", "Get", s.fn, m{"Qualifier": "eventinvokealias"})
	s.events("update_eventinvokeconfig_config_doesnotexist_with_qualifier", "Update", s.fn, with("eventinvokealias"))
	s.events("update_eventinvokeconfig_config_doesnotexist_without_qualifier", "Update", s.fn, retries)
}
