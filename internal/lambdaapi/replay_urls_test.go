package lambdaapi_test

import (
	"maps"
	"strings"
)

// urlScenarios are those of function URLs.
func urlScenarios() map[string]scenario {
	return map[string]scenario{
		"TestLambdaUrl::test_url_config_exceptions":                 urlErrors,
		"TestLambdaUrl::test_url_config_list_paging":                urlPages,
		"TestLambdaUrl::test_url_config_lifecycle":                  urlLifecycle,
		"TestLambdaUrl::test_url_config_deletion_without_qualifier": urlDeletion,
	}
}

// url replays a step. The addresses of URLs were left out of the recordings.
func (s *session) url(step, operation string, members m) m {
	s.t.Helper()
	got := s.send(operation, members)
	s.compare(step, withoutAddress(got))
	return got
}

func withoutAddress(out m) m {
	out = maps.Clone(out)
	if address, ok := out["FunctionUrl"].(string); ok && strings.Contains(address, ".lambda-url."+region+".") {
		out["FunctionUrl"] = "lambda-url"
	}
	return out
}

func urlErrors(s *session) {
	s.fixture("", m{"Handler": "lambda_handler.handler", "Runtime": "nodejs20.x"})
	s.do("fn_version_result", "PublishVersion", m{"FunctionName": s.fn})
	s.settle(s.fn)
	s.do("create_alias_result", "CreateAlias", m{"FunctionName": s.fn, "Name": "urlalias", "FunctionVersion": "1"})
	for verb, operation := range map[string]string{
		"create": "CreateFunctionUrlConfig", "get": "GetFunctionUrlConfig", "delete": "DeleteFunctionUrlConfig", "update": "UpdateFunctionUrlConfig",
	} {
		call := func(step string, members m) {
			if verb == "create" || verb == "update" {
				members["AuthType"] = "NONE"
			}
			s.url(verb+"_function_url_config_"+step, operation, members)
		}
		call("name_doesnotexist", m{"FunctionName": "doesnotexist"})
		call("arn_doesnotexist", m{"FunctionName": strings.ReplaceAll(s.arn(), s.fn, "doesnotexist")})
		call("name_doesnotexist_qualifier", m{"FunctionName": "doesnotexist", "Qualifier": "1"})
		call("qualifier_version", m{"FunctionName": s.fn, "Qualifier": "1"})
		call("qualifier_version_doesnotexist", m{"FunctionName": s.fn, "Qualifier": "2"})
		call("qualifier_alias_doesnotexist", m{"FunctionName": s.fn, "Qualifier": "doesnotexist"})
		if verb != "delete" { // AWS failed itself
			call("qualifier_alias_doesnotmatch_arn", m{"FunctionName": s.arn() + ":urlalias", "Qualifier": "doesnotmatch"})
		}
		call("qualifier_latest", m{"FunctionName": s.fn, "Qualifier": "$LATEST"})
		if verb != "create" {
			call("config_doesnotexist", m{"FunctionName": s.fn})
		}
	}
}

func urlPages(s *session) {
	s.fixture("", m{"Handler": "lambda_handler.handler", "Runtime": "nodejs20.x"})
	s.do("fn_version_result", "PublishVersion", m{"FunctionName": s.fn})
	s.settle(s.fn)
	s.do("create_alias_result", "CreateAlias", m{"FunctionName": s.fn, "Name": "urlalias", "FunctionVersion": "1"})
	s.url("list_function_notfound", "ListFunctionUrlConfigs", m{"FunctionName": "doesnotexist"})
	s.url("list_all_empty", "ListFunctionUrlConfigs", m{"FunctionName": s.fn})
	s.url("url_config_fn", "CreateFunctionUrlConfig", m{"FunctionName": s.fn, "AuthType": "NONE"})
	s.url("url_config_alias", "CreateFunctionUrlConfig", m{"FunctionName": s.fn + ":urlalias", "Qualifier": "urlalias", "AuthType": "NONE"})
	all, in := []any{}, m{"FunctionName": s.fn, "MaxItems": 1}
	for {
		out := s.send("ListFunctionUrlConfigs", in)
		for _, item := range out["FunctionUrlConfigs"].([]any) {
			all = append(all, withoutAddress(item.(m)))
		}
		if in["Marker"] = out["NextMarker"]; in["Marker"] == nil {
			break
		}
	}
	s.compare("list_all", m{"FunctionUrlConfigs": all, "ResponseMetadata": m{"HTTPHeaders": m{}, "HTTPStatusCode": float64(200)}})
}

func urlLifecycle(s *session) {
	s.fixture("", nil)
	in := m{"FunctionName": s.fn, "AuthType": "NONE"}
	made := s.url("url_creation", "CreateFunctionUrlConfig", in)
	s.url("failed_duplication", "CreateFunctionUrlConfig", in)
	got := s.url("get_url_config", "GetFunctionUrlConfig", m{"FunctionName": s.fn})
	updated := s.url("updated_url_config", "UpdateFunctionUrlConfig", m{"FunctionName": s.fn, "AuthType": "AWS_IAM"})
	if made["FunctionUrl"] != got["FunctionUrl"] || made["FunctionUrl"] != updated["FunctionUrl"] {
		s.t.Errorf("the address changes: %v, %v, %v", made, got, updated)
	}
	s.send("DeleteFunctionUrlConfig", m{"FunctionName": s.fn})
	s.url("failed_getter", "GetFunctionUrlConfig", m{"FunctionName": s.fn})
}

func urlDeletion(s *session) {
	s.fixture("", nil)
	s.send("PublishVersion", m{"FunctionName": s.fn})
	s.send("CreateAlias", m{"FunctionName": s.fn, "Name": "test-alias", "FunctionVersion": "1"})
	head, alias := m{"FunctionName": s.fn}, m{"FunctionName": s.fn, "Qualifier": "test-alias"}
	s.url("url_creation", "CreateFunctionUrlConfig", m{"FunctionName": s.fn, "AuthType": "NONE"})
	s.url("url_with_alias_creation", "CreateFunctionUrlConfig", m{"FunctionName": s.fn, "Qualifier": "test-alias", "AuthType": "NONE"})
	s.url("get_url_config", "GetFunctionUrlConfig", head)
	s.url("get_url_config_with_alias", "GetFunctionUrlConfig", alias)
	s.url("delete_function_url_config", "DeleteFunctionUrlConfig", head)
	s.url("get_url_config_after_deletion", "GetFunctionUrlConfig", head)
	s.url("get_url_config_with_alias_after_deletion", "GetFunctionUrlConfig", alias)
}
