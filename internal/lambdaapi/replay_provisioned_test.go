package lambdaapi_test

import "strings"

// provisionScenarios are those of provisioned concurrency.
func provisionScenarios() map[string]scenario {
	return map[string]scenario{
		"TestLambdaProvisionedConcurrency::test_provisioned_concurrency_exceptions": provisionErrors,
		"TestLambdaProvisionedConcurrency::test_lambda_provisioned_lifecycle":       provisionLifecycle,
		"TestLambdaProvisionedConcurrency::test_provisioned_concurrency_limits": func(s *session) {
			s.fixture("", nil)
			s.send("PublishVersion", m{"FunctionName": s.fn})
			s.provision("put_provisioned_concurrency_account_limit_exceeded", s.fn, "1", 1001)
			s.provision("put_provisioned_concurrency_below_unreserved_min_value", s.fn, "1", 901)
		},
	}
}

func (s *session) provision(step, function, qualifier string, n int) m {
	s.t.Helper()
	return s.do(step, "PutProvisionedConcurrencyConfig", m{"FunctionName": function, "Qualifier": qualifier, "ProvisionedConcurrentExecutions": n})
}

func provisionErrors(s *session) {
	s.fixture("", nil)
	s.do("publish_version_result", "PublishVersion", m{"FunctionName": s.fn})
	get := func(step, function, qualifier string) {
		operation := "GetProvisionedConcurrencyConfig"
		if strings.HasPrefix(step, "delete") {
			operation = "DeleteProvisionedConcurrencyConfig"
		}
		s.do(step, operation, m{"FunctionName": function, "Qualifier": qualifier})
	}
	get("get_provisioned_config_doesnotexist", s.fn, "1")
	get("get_provisioned_functionname_doesnotexist", "doesnotexist", "noalias")
	get("get_provisioned_qualifier_doesnotexist", s.fn, "noalias")
	get("get_provisioned_version_doesnotexist", s.fn, "10")
	get("get_provisioned_latest", s.fn, "$LATEST")
	s.do("list_provisioned_noconfigs", "ListProvisionedConcurrencyConfigs", m{"FunctionName": s.fn})
	s.do("list_provisioned_functionname_doesnotexist", "ListProvisionedConcurrencyConfigs", m{"FunctionName": "doesnotexist"})
	get("delete_provisioned_functionname_doesnotexist", "doesnotexist", "1")
	get("delete_provisioned_qualifier_doesnotexist", s.fn, "noalias")
	get("delete_provisioned_version_doesnotexist", s.fn, "10")
	get("delete_provisioned_latest", s.fn, "$LATEST")
	get("delete_provisioned_config_doesnotexist", s.fn, "1")
	s.provision("put_provisioned_invalid_param_0", s.fn, "1", 0)
	s.provision("put_provisioned_functionname_doesnotexist_alias", "doesnotexist", "noalias", 1)
	s.provision("put_provisioned_functionname_doesnotexist_version", "doesnotexist", "1", 1)
	s.provision("put_provisioned_qualifier_doesnotexist", s.fn, "doesnotexist", 1)
	s.provision("put_provisioned_version_doesnotexist", s.fn, "10", 1)
	s.provision("put_provisioned_latest", s.fn, "$LATEST", 1)
}

func provisionLifecycle(s *session) {
	s.fixture("", nil)
	s.do("publish_version_result", "PublishVersion", m{"FunctionName": s.fn})
	s.do("create_alias_result", "CreateAlias", m{"FunctionName": s.fn, "Name": "alias-1", "FunctionVersion": "1"})
	one, alias := m{"FunctionName": s.fn, "Qualifier": "1"}, m{"FunctionName": s.fn, "Qualifier": "alias-1"}
	s.provision("put_provisioned_on_version", s.fn, "1", 1)
	s.provision("put_provisioned_on_alias_versionconflict", s.fn, "alias-1", 1)
	s.do("delete_provisioned_version", "DeleteProvisionedConcurrencyConfig", one)
	s.do("get_provisioned_version_postdelete", "GetProvisionedConcurrencyConfig", one)
	s.provision("put_provisioned_on_alias", s.fn, "alias-1", 1)
	s.provision("put_provisioned_on_version_conflict", s.fn, "1", 1)
	s.do("delete_alias_result", "DeleteAlias", m{"FunctionName": s.fn, "Name": "alias-1"})
	s.do("get_provisioned_alias_postaliasdelete", "GetProvisionedConcurrencyConfig", alias)
	s.do("list_response_postdeletes", "ListProvisionedConcurrencyConfigs", m{"FunctionName": s.fn})
}
