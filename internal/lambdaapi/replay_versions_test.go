package lambdaapi_test

import "strings"

func versionScenarios() map[string]scenario {
	return map[string]scenario{
		"TestLambdaVersions::test_publish_version_on_create": func(s *session) {
			s.create("create_response", m{"Publish": true})
			s.do("get_function_result", "GetFunction", m{"FunctionName": s.fn})
			s.do("get_function_version_result", "GetFunction", m{"FunctionName": s.fn, "Qualifier": "1"})
			s.do("get_function_latest_result", "GetFunction", m{"FunctionName": s.fn, "Qualifier": "$LATEST"})
			s.do("list_versions_result", "ListVersionsByFunction", m{"FunctionName": s.fn})
			s.do("repeated_publish_response", "PublishVersion", m{"FunctionName": s.fn, "Description": "Repeated version description :)"})
			s.do("list_versions_result_after_publish", "ListVersionsByFunction", m{"FunctionName": s.fn})
		},
		"TestLambdaVersions::test_version_lifecycle": func(s *session) {
			s.create("create_response", m{"Description": "No version :("})
			s.do("get_function_result", "GetFunction", m{"FunctionName": s.fn})
			s.do("list_versions_result", "ListVersionsByFunction", m{"FunctionName": s.fn})
			s.do("first_update_response", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Description": "First version :)"})
			s.settle(s.fn)
			s.do("first_update_get_function", "GetFunction", m{"FunctionName": s.fn})
			s.do("first_publish_response", "PublishVersion", m{"FunctionName": s.fn, "Description": "First version description :)"})
			one := m{"FunctionName": s.fn, "Qualifier": "1"}
			s.do("first_publish_get_function", "GetFunction", one)
			s.do("first_publish_get_function_config", "GetFunctionConfiguration", one)
			s.do("second_update_response", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Description": "Second version :))"})
			s.settle(s.fn)
			s.do("first_publish_get_function_after_update", "GetFunction", one)
			s.do("second_publish_response", "PublishVersion", m{"FunctionName": s.fn})
			s.do("third_publish_response", "PublishVersion", m{"FunctionName": s.fn, "Description": "Third version description :)))"})
			s.do("list_versions_result_after_third_publish", "ListVersionsByFunction", m{"FunctionName": s.fn})
			s.send("DeleteFunction", m{"FunctionName": s.fn + ":1"})
			s.do("list_versions_result_after_deletion_of_first_version", "ListVersionsByFunction", m{"FunctionName": s.fn})
		},
		"TestLambdaVersions::test_publish_with_wrong_sha256": func(s *session) {
			s.create("create_response", nil)
			got := s.do("get_fn_response", "GetFunction", m{"FunctionName": s.fn})
			s.do("publish_wrong_sha256_exc", "PublishVersion", m{"FunctionName": s.fn, "CodeSha256": "somenonexistentsha256"})
			s.do("publish_result", "PublishVersion", m{"FunctionName": s.fn, "CodeSha256": got["Configuration"].(m)["CodeSha256"]})
		},
		"TestLambdaVersions::test_publish_with_wrong_revisionid": func(s *session) {
			s.create("create_response", m{"Runtime": "python3.9"})
			got := s.do("get_fn_response", "GetFunction", m{"FunctionName": s.fn})
			s.do("publish_wrong_revisionid_exc", "PublishVersion", m{"FunctionName": s.fn, "RevisionId": "doesntexist"})
			s.do("publish_result", "PublishVersion", m{"FunctionName": s.fn, "RevisionId": revision(got)})
		},
		"TestLambdaVersions::test_publish_with_update": func(s *session) {
			s.create("create_response", nil)
			s.do("get_function_result", "GetFunction", m{"FunctionName": s.fn})
			s.do("update_function_code_result", "UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": archive("index.py", "two"), "Publish": true})
			s.do("get_function_version_result", "GetFunction", m{"FunctionName": s.fn, "Qualifier": "1"})
			s.do("get_function_latest_result", "GetFunction", m{"FunctionName": s.fn, "Qualifier": "$LATEST"})
		},
		"TestLambdaAlias::test_alias_lifecycle":                     aliasLifecycle,
		"TestLambdaAlias::test_notfound_and_invalid_routingconfigs": aliasRouting,
		"TestLambdaAlias::test_alias_naming": func(s *session) {
			s.create("create_response", m{"Environment": m{"Variables": m{"testenv": "staging"}}})
			s.do("publish_v1", "PublishVersion", m{"FunctionName": s.fn})
			s.do("create_alias_date", "CreateAlias", m{"FunctionName": s.fn, "Name": "2024-01-02", "FunctionVersion": "1", "Description": "custom-alias"})
			s.do("get_alias_date", "GetAlias", m{"FunctionName": s.fn, "Name": "2024-01-02"})
			s.do("create_alias_number_exception", "CreateAlias", m{"FunctionName": s.fn, "Name": "2024", "FunctionVersion": "1", "Description": "custom-alias"})
		},
		"TestLambdaAlias::test_non_existent_alias_deletion": func(s *session) {
			s.create("create_response", m{"Environment": m{"Variables": m{"testenv": "staging"}}})
			s.do("delete_alias_response", "DeleteAlias", m{"FunctionName": s.fn, "Name": "non-existent"})
		},
		"TestLambdaAlias::test_non_existent_alias_update": func(s *session) {
			s.create("create_response", m{"Environment": m{"Variables": m{"testenv": "staging"}}})
			s.do("update_alias_response", "UpdateAlias", m{"FunctionName": s.fn, "Name": "non-existent"})
		},
		"TestLambdaRevisions::test_function_revisions_basic": func(s *session) {
			s.fixture("create_function_response_rev1", m{"Handler": "index.handler"})
			get := m{"FunctionName": s.fn}
			rev2 := revision(s.do("get_function_response_rev2", "GetFunction", get))
			code := archive("index.py", "code of "+s.fn)
			s.do("update_function_revision_exception", "UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": code, "RevisionId": "wrong"})
			s.do("update_function_code_response_rev3", "UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": code, "RevisionId": rev2})
			s.settle(s.fn)
			rev4 := revision(s.do("get_function_response_rev4", "GetFunction", get))
			s.do("update_function_configuration_revision_exception", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Runtime": "python3.8", "RevisionId": "wrong"})
			s.do("update_function_configuration_response_rev5", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Runtime": "python3.8", "RevisionId": rev4})
			s.settle(s.fn)
			s.do("get_function_response_rev6", "GetFunction", get)
		},
		"TestLambdaRevisions::test_function_revisions_version_and_alias": func(s *session) {
			s.fixture("create_function_response_rev1", nil)
			get, one := m{"FunctionName": s.fn}, m{"FunctionName": s.fn, "Qualifier": "1"}
			rev2 := revision(s.do("get_function_active_rev2", "GetFunction", get))
			s.do("publish_version_revision_exception", "PublishVersion", m{"FunctionName": s.fn, "RevisionId": "wrong"})
			s.do("publish_version_response_rev_v1", "PublishVersion", m{"FunctionName": s.fn, "RevisionId": rev2})
			s.settle(s.fn)
			s.do("get_function_published_version_rev_v2", "GetFunction", one)
			s.do("get_function_latest_rev3", "GetFunction", get)
			alias := s.do("create_alias_response_rev_a1", "CreateAlias", m{"FunctionName": s.fn, "Name": "revision_alias", "FunctionVersion": "1"})
			s.do("get_function_latest_rev4", "GetFunction", get)
			s.do("get_function_published_version_rev_v3", "GetFunction", one)
			s.do("update_alias_revision_exception", "UpdateAlias", m{"FunctionName": s.fn, "Name": "revision_alias", "RevisionId": "wrong"})
			s.do("update_alias_response_rev_a2", "UpdateAlias", m{"FunctionName": s.fn, "Name": "revision_alias", "Description": "something changed", "RevisionId": alias["RevisionId"]})
		},
		"TestLambdaRevisions::test_function_revisions_permissions": func(s *session) {
			s.fixture("", nil)
			get := m{"FunctionName": s.fn}
			add := m{"FunctionName": s.fn, "StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "RevisionId": "wrong"}
			rev2 := revision(s.send("GetFunction", get))
			s.step("add_permission_revision_exception", "AddPermission", add)
			add["RevisionId"] = rev2
			s.step("add_permission_response", "AddPermission", add)
			s.step("get_policy_response_rev3", "GetPolicy", get)
			rev3 := revision(s.send("GetFunction", get))
			s.step("remove_permission_revision_exception", "RemovePermission", m{"FunctionName": s.fn, "StatementId": "s3", "RevisionId": "wrong"})
			s.step("remove_permission_response", "RemovePermission", m{"FunctionName": s.fn, "StatementId": "s3", "RevisionId": rev3})
		},
	}
}

// step is do for a test of which AWS's answers are recorded only in part.
func (s *session) step(step, operation string, members m) m {
	s.t.Helper()
	if _, ok := s.recorded[step]; !ok {
		return s.send(operation, members)
	}
	return s.do(step, operation, members)
}

func revision(out m) any {
	c, _ := out["Configuration"].(m)
	return c["RevisionId"]
}

func aliasLifecycle(s *session) {
	s.create("create_response", m{"Environment": m{"Variables": m{"testenv": "staging"}}})
	s.do("publish_v1", "PublishVersion", m{"FunctionName": s.fn})
	s.send("UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Environment": m{"Variables": m{"testenv": "prod"}}})
	s.settle(s.fn)
	s.do("publish_v2", "PublishVersion", m{"FunctionName": s.fn})
	alias := func(step, name, version string, more m) m {
		in := m{"FunctionName": s.fn, "Name": name, "FunctionVersion": version, "Description": "custom-alias"}
		for k, v := range more {
			if in[k] = v; v == nil {
				delete(in, k)
			}
		}
		out := s.do("create_alias_"+step, "CreateAlias", in)
		s.do("get_alias_"+step, "GetAlias", m{"FunctionName": s.fn, "Name": name})
		return out
	}
	made := alias("1_1", "aliasname1_1", "1", m{"RoutingConfig": m{"AdditionalVersionWeights": m{"2": 0.2}}})
	arn := made["AliasArn"].(string)
	s.do("get_function_alias_1_1", "GetFunction", m{"FunctionName": s.fn, "Qualifier": "aliasname1_1"})
	s.do("get_function_byarn_alias_1_1", "GetFunction", m{"FunctionName": arn})
	s.do("get_function_alias_notfound_exc", "GetFunction", m{"FunctionName": s.fn, "Qualifier": "aliasdoesnotexist"})
	s.do("get_function_alias_byarn_notfound_exc", "GetFunction", m{"FunctionName": strings.Replace(arn, "aliasname1_1", "aliasdoesnotexist", 1)})
	alias("1_2", "aliasname1_2", "1", nil)
	alias("1_3", "aliasname1_3", "1", m{"Description": nil})
	alias("2", "aliasname2", "2", nil)
	list := m{"FunctionName": s.fn}
	s.pages("list_aliases_for_fnname", "ListAliases", "Aliases", list)
	s.do("update_alias_1_1", "UpdateAlias", m{"FunctionName": s.fn, "Name": "aliasname1_1", "RoutingConfig": m{"AdditionalVersionWeights": m{}}})
	s.do("get_alias_1_1_after_update", "GetAlias", m{"FunctionName": s.fn, "Name": "aliasname1_1"})
	s.do("list_aliases_for_fnname_after_update", "ListAliases", list)
	s.do("update_alias_1_2", "UpdateAlias", m{"FunctionName": s.fn, "Name": "aliasname1_2"})
	s.do("get_alias_1_2_after_update", "GetAlias", m{"FunctionName": s.fn, "Name": "aliasname1_2"})
	s.do("list_aliases_for_fnname_after_update_2", "ListAliases", list)
	s.do("list_aliases_for_version", "ListAliases", m{"FunctionName": s.fn, "FunctionVersion": "1"})
	s.do("delete_alias_response", "DeleteAlias", m{"FunctionName": s.fn, "Name": "aliasname1_1"})
	s.do("list_aliases_for_fnname_afterdelete", "ListAliases", list)
}

func aliasRouting(s *session) {
	s.create("create_response", m{"Publish": true, "Environment": m{"Variables": m{"testenv": "staging"}}})
	s.do("publish_v1", "PublishVersion", m{"FunctionName": s.fn})
	s.send("UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Environment": m{"Variables": m{"testenv": "prod"}}})
	s.settle(s.fn)
	s.do("publish_v2", "PublishVersion", m{"FunctionName": s.fn})
	alias := func(step, function, name, version string, weights m) {
		s.do(step, "CreateAlias", m{"FunctionName": function, "Name": name, "FunctionVersion": version, "RoutingConfig": m{"AdditionalVersionWeights": weights}})
	}
	half := m{"2": 0.5}
	alias("routing_config_exc_toomany", s.fn, "custom", "1", m{"1": 0.8, "2": 0.2})
	alias("routing_config_exc_toohigh", s.fn, "custom", "1", m{"2": 2})
	alias("routing_config_exc_subzero", s.fn, "custom", "1", m{"2": -1})
	alias("routing_config_exc_sameversion", s.fn, "custom", "1", m{"1": 0.5})
	alias("target_version_doesnotexist", s.fn, "custom", "10", half)
	alias("routing_config_exc_version_doesnotexist", s.fn, "custom", "1", m{"10": 0.5})
	alias("target_version_exc_version_latest", s.fn, "custom", "$LATEST", m{"1": 0.5})
	alias("routing_config_exc_version_latest", s.fn, "custom", "1", m{"$LATEST": 0.5})
	s.do("create-alias-latest", "CreateAlias", m{"FunctionName": s.fn, "Name": "custom-latest", "FunctionVersion": "$LATEST"})
	alias("routing_config_exc_fn_doesnotexist", s.fn+"-unknown", "custom", "1", half)
	alias("create_alias_empty_routingconfig", s.fn, "custom-empty-routingconfig", "1", m{})
	alias("create_alias_response", s.fn, "custom", "1", half)
	alias("routing_config_exc_already_exist", s.fn, "custom", "1", half)
	s.do("alias_does_not_exist_esc", "GetAlias", m{"FunctionName": s.fn, "Name": "non-existent"})
}
