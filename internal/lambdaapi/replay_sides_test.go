package lambdaapi_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sideScenarios are tags, policies, concurrency, limits and settings.
func sideScenarios() map[string]scenario {
	all := map[string]scenario{
		"TestLambdaTag::test_create_tag_on_fn_create": func(s *session) {
			s.fixture("", m{"Tags": m{"testtag": "tag-1"}})
			got := s.do("get_function_result", "GetFunction", m{"FunctionName": s.fn})
			s.do("list_tags_result", "ListTags", m{"Resource": got["Configuration"].(m)["FunctionArn"]})
		},
		"TestLambdaTag::test_tag_lifecycle":                  tagLifecycle,
		"TestLambdaTag::test_tag_lifecycle[lambda_function]": tagLifecycle,
		"TestLambdaTag::test_tag_nonexisting_resource": func(s *session) {
			s.fixture("", nil)
			s.do("pre_delete_get_function", "GetFunction", m{"FunctionName": s.arn()})
			s.send("DeleteFunction", m{"FunctionName": s.arn()})
			s.missingTags(s.arn())
		},
		"TestLambdaTags::test_tag_exceptions": tagExceptions,
		"TestLambdaTags::test_tag_limits":     tagLimits,
		"TestLambdaTags::test_tag_lifecycle":  tagsLifecycle,
		"TestLambdaTags::test_tag_versions": func(s *session) {
			s.fixture("", m{"Tags": m{"key_a": "value_a"}})
			s.send("PublishVersion", m{"FunctionName": s.fn})
			s.do("tag_resource_exception", "TagResource", m{"Resource": s.arn() + ":1", "Tags": m{"key_b": "value_b"}})
			s.do("tag_resource_latest_exception", "TagResource", m{"Resource": s.arn() + ":$LATEST", "Tags": m{"key_b": "value_b"}})
		},
		"TestLambdaPermissions::test_permission_exceptions":           permissionExceptions,
		"TestLambdaPermissions::test_lambda_permission_fn_versioning": permissionVersions,
		"TestLambdaPermissions::test_add_lambda_permission_fields":    permissionFields,
		"TestLambdaPermissions::test_add_lambda_permission_aws": func(s *session) {
			s.fixture("create_lambda", nil)
			s.permit("add_permission", s.fn, m{"SourceArn": bucket})
			s.do("get_policy", "GetPolicy", m{"FunctionName": s.fn})
		},
		"TestLambdaPermissions::test_remove_multi_permissions": func(s *session) {
			s.fixture("", nil)
			policy := m{"FunctionName": s.fn}
			s.permit("add_permission_1", s.fn, nil)
			s.permit("add_permission_2", s.fn, m{"StatementId": "sqs", "Principal": "sqs.amazonaws.com", "SourceArn": bucket})
			s.do("policy_after_2_add", "GetPolicy", policy)
			s.do("remove_permission_exception_nonexisting_sid", "RemovePermission", m{"FunctionName": s.fn, "StatementId": "non-existent"})
			s.send("RemovePermission", m{"FunctionName": s.fn, "StatementId": "sqs"})
			s.do("policy_after_removal", "GetPolicy", policy)
			again := s.do("policy_after_removal_attempt", "GetPolicy", policy)
			s.send("RemovePermission", m{"FunctionName": s.fn, "StatementId": "s3", "RevisionId": again["RevisionId"]})
			s.do("get_policy_exception_removed_all", "GetPolicy", policy)
		},
		"TestLambdaPermissions::test_create_multiple_lambda_permissions": func(s *session) {
			s.fixture("", nil)
			s.permit("add_permission_response_1", s.fn, m{"StatementId": "logs", "Principal": "logs.amazonaws.com"})
			s.permit("add_permission_response_2", s.fn, m{"StatementId": "kinesis", "Principal": "kinesis.amazonaws.com"})
			s.do("policy_after_2_add", "GetPolicy", m{"FunctionName": s.fn})
		},
		"TestLambdaReservedConcurrency::test_function_concurrency_exceptions": func(s *session) {
			s.do("put_function_concurrency_with_function_name_doesnotexist", "PutFunctionConcurrency", m{"FunctionName": "doesnotexist", "ReservedConcurrentExecutions": 1})
			s.do("put_function_concurrency_with_function_name_doesnotexist_and_invalid_concurrency", "PutFunctionConcurrency", m{"FunctionName": "doesnotexist", "ReservedConcurrentExecutions": 0})
			s.fixture("", nil)
			s.do("put_function_concurrency_with_qualified_arn", "PutFunctionConcurrency", m{"FunctionName": s.arn() + ":$LATEST", "ReservedConcurrentExecutions": 0})
		},
		"TestLambdaReservedConcurrency::test_function_concurrency_limits": func(s *session) {
			s.fixture("", nil)
			s.do("put_function_concurrency_account_limit_exceeded", "PutFunctionConcurrency", m{"FunctionName": s.fn, "ReservedConcurrentExecutions": 1001})
			s.do("put_function_concurrency_below_unreserved_min_value", "PutFunctionConcurrency", m{"FunctionName": s.fn, "ReservedConcurrentExecutions": 1000})
		},
		"TestLambdaReservedConcurrency::test_function_concurrency": func(s *session) {
			s.fixture("", nil)
			s.do("put_function_concurrency_with_reserved_0", "PutFunctionConcurrency", m{"FunctionName": s.fn, "ReservedConcurrentExecutions": 0})
			s.do("put_function_concurrency_with_reserved_1", "PutFunctionConcurrency", m{"FunctionName": s.fn, "ReservedConcurrentExecutions": 1})
			s.do("get_function_concurrency", "GetFunctionConcurrency", m{"FunctionName": s.fn})
			s.do("delete_response", "DeleteFunctionConcurrency", m{"FunctionName": s.fn})
			s.do("get_function_concurrency_after_delete", "GetFunctionConcurrency", m{"FunctionName": s.fn})
		},
		"TestCodeSigningConfig::test_code_signing_not_found_excs": func(s *session) {
			s.fixture("", nil)
			s.do("nothing_to_delete_response", "DeleteFunctionCodeSigningConfig", m{"FunctionName": s.fn})
			s.do("delete_function_csc_fnnotfound", "DeleteFunctionCodeSigningConfig", m{"FunctionName": "csc-test-doesnotexist"})
			s.do("get_function_csc_fnwithoutcsc", "GetFunctionCodeSigningConfig", m{"FunctionName": s.fn})
			s.do("get_function_csc_nonexistingfn", "GetFunctionCodeSigningConfig", m{"FunctionName": "csc-test-doesnotexist"})
			gone := m{"CodeSigningConfigArn": "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0"}
			s.do("delete_csc_notfound", "DeleteCodeSigningConfig", gone)
			s.do("update_csc_invalid_csc_arn", "UpdateCodeSigningConfig", gone)
			s.do("get_csc_invalid", "GetCodeSigningConfig", gone)
			s.do("list_functions_by_csc_invalid_cscarn", "ListFunctionsByCodeSigningConfig", gone)
			gone["FunctionName"] = s.fn
			s.do("put_function_csc_invalid_csc_arn", "PutFunctionCodeSigningConfig", gone)
			gone["FunctionName"] = "csc-test-doesnotexist"
			s.do("put_function_csc_invalid_both", "PutFunctionCodeSigningConfig", gone)
		},
		"TestLambdaRecursion::test_put_function_recursion_config_default_terminate": func(s *session) {
			s.fixture("", nil)
			s.do("get_recursion_default_terminate_response", "GetFunctionRecursionConfig", m{"FunctionName": s.fn})
		},
		"TestLambdaRecursion::test_put_function_recursion_config_invalid_value": func(s *session) {
			s.do("put_recursion_invalid_value_error", "PutFunctionRecursionConfig", m{"FunctionName": s.fn, "RecursiveLoop": "InvalidValue"})
		},
		"TestLambdaSizeLimits::test_oversized_request_create_lambda": func(s *session) {
			s.create("invalid_param_exc", m{"Handler": "handler.handler", "Environment": m{"Variables": m{"largeKey": strings.Repeat("#", 70_200_000)}}})
		},
		"TestLambdaSizeLimits::test_oversized_zipped_create_lambda": func(s *session) {
			s.create("invalid_param_exc", m{"Code": m{"ZipFile": make([]byte, 52_428_801)}})
		},
		"TestLambdaSizeLimits::test_large_environment_variables_fails": func(s *session) {
			s.fixture("failed_create_fn_result", m{"Environment": m{"Variables": m{"LARGE_VAR": strings.Repeat("x", 4*1024-6-len("LARGE_VAR"))}}})
		},
		"TestLambdaSizeLimits::test_large_environment_fails_multiple_keys": func(s *session) {
			s.fixture("failured_create_fn_result_multi_key", m{"Environment": m{"Variables": m{"SMALL_VAR": "ok", "LARGE_VAR": strings.Repeat("x", 4064)}}})
		},
		"TestLambdaSizeLimits::test_lambda_envvars_near_limit_succeeds": func(s *session) {
			s.fixture("successful_create_fn_result", m{"Environment": m{"Variables": m{"LARGE_VAR": strings.Repeat("x", 4*1024-7-len("LARGE_VAR"))}}})
		},
		"TestLambdaAccountSettings::test_account_settings": func(s *session) {
			got := s.send("GetAccountSettings", m{})
			for _, part := range []string{"AccountLimit", "AccountUsage"} {
				var names []any
				for _, n := range slices.Sorted(maps.Keys(got[part].(m))) {
					names = append(names, n)
				}
				got[part] = names
			}
			s.compare("acc_settings_modded", got)
		},
		"TestLambdaAccountSettings::test_account_settings_total_code_size":               codeSize,
		"TestLambdaAccountSettings::test_account_settings_total_code_size_config_update": codeSizeOfConfig,
		"TestLambdaSnapStart::test_snapstart_exceptions": func(s *session) {
			s.create("create_function_invalid_snapstart_apply", m{"Runtime": "java21", "SnapStart": m{"ApplyOn": "invalidOption"}})
		},
		"TestLambdaTag::test_tag_exceptions[lambda_function]": func(s *session) {
			s.tagErrors("function:resource-1")
		},
		"TestLambdaTag::test_tag_exceptions[event_source_mapping]": func(s *session) {
			s.tagErrors("event-source-mapping:2b2d6e60-11f5-4b5f-a3a5-2f6d5b8d6e2f")
		},
		"TestLambdaTag::test_tag_exceptions[capacity_provider]": func(s *session) {
			s.tagErrors("capacity-provider:resource-1")
		},
	}
	for _, r := range []string{"java11", "java17", "java21", "java25", "python3.12", "python3.13", "dotnet8", "dotnet10"} {
		all["TestLambdaSnapStart::test_snapstart_lifecycle["+r+"]"] = func(s *session) {
			s.create("create_function_response", s.multiruntime(r))
			s.send("PublishVersion", m{"FunctionName": s.fn, "Description": "version1"})
			s.settle(s.fn)
			s.do("get_function_response_latest", "GetFunction", m{"FunctionName": s.fn})
			s.do("get_function_response_version_1", "GetFunction", m{"FunctionName": s.fn + ":1"})
		}
		all["TestLambdaSnapStart::test_snapstart_update_function_configuration["+r+"]"] = func(s *session) {
			s.create("create_function_response", s.multiruntime(r))
			s.do("update_function_response", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "SnapStart": m{"ApplyOn": "PublishedVersions"}})
		}
	}
	loggingScenarios(all)
	return all
}

// multiruntime are the members of the suite's functions in a given language; the
// handler differs by language and is read from the answer.
func (s *session) multiruntime(runtime string) m {
	made := s.recorded["create_function_response"].(m)
	in := m{"Runtime": runtime, "Handler": made["Handler"], "MemorySize": 1024, "Timeout": 5}
	if env, ok := made["Environment"]; ok {
		in["Environment"] = env
	}
	return in
}

func loggingScenarios(all map[string]scenario) {
	start := func(s *session, members m) {
		in := m{"MemorySize": 256, "Timeout": 5}
		maps.Copy(in, members)
		s.fixture("create_response", in)
		s.do("get_function_response", "GetFunction", m{"FunctionName": s.fn})
		s.do("function_config", "GetFunctionConfiguration", m{"FunctionName": s.fn})
	}
	update := func(s *session, suffix string, logging m) {
		s.do("updated_config"+suffix, "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "LoggingConfig": logging})
		s.settle(s.fn)
		s.do("received_config"+suffix, "GetFunctionConfiguration", m{"FunctionName": s.fn})
	}
	all["TestLoggingConfig::test_function_advanced_logging_configuration"] = func(s *session) {
		start(s, m{"LoggingConfig": m{"LogFormat": "JSON"}})
		update(s, "", m{"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", "LogGroup": "cool_lambda"})
	}
	all["TestLoggingConfig::test_advanced_logging_configuration_format_switch"] = func(s *session) {
		start(s, nil)
		update(s, "", m{"LogFormat": "JSON"})
		update(s, "_v2", m{"LogFormat": "Text"})
	}
	for i, logging := range []m{
		{"LogFormat": "JSON"}, {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
		{"LogFormat": "JSON", "SystemLogLevel": "DEBUG"}, {"LogGroup": "cool_lambda"},
	} {
		all[fmt.Sprintf("TestLoggingConfig::test_function_partial_advanced_logging_configuration_update[partial_config%d]", i)] = func(s *session) {
			start(s, nil)
			update(s, "", logging)
		}
	}
}

const bucket = "arn:aws:s3:::test-bucket"

func (s *session) arn() string { return "arn:aws:lambda:us-east-1:" + account + ":function:" + s.fn }

// permit adds a permission for S3 with the statement id s3, unless more says
// otherwise.
func (s *session) permit(step, function string, more m) m {
	s.t.Helper()
	in := m{"FunctionName": function, "StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
	maps.Copy(in, more)
	if step == "" {
		return s.send("AddPermission", in)
	}
	return s.do(step, "AddPermission", in)
}

func (s *session) missingTags(arn string) {
	s.t.Helper()
	s.do("not_found_exception_tag", "TagResource", m{"Resource": arn, "Tags": m{"A": "B"}})
	s.do("not_found_exception_untag", "UntagResource", m{"Resource": arn, "TagKeys": []string{"A"}})
	s.do("not_found_exception_list", "ListTags", m{"Resource": arn})
}

func (s *session) tagErrors(resource string) {
	s.t.Helper()
	prefix := "arn:aws:lambda:us-east-1:" + account + ":"
	kind, name, _ := strings.Cut(resource, ":")
	s.missingTags(prefix + resource)
	s.do("aliased_arn_exception", "TagResource", m{"Resource": prefix + kind + ":" + name + ":alias", "Tags": m{"A": "B"}})
	s.do("invalid_arn_exception", "TagResource", m{"Resource": prefix + "foobar:" + name, "Tags": m{"A": "B"}})
}

func tagLifecycle(s *session) {
	s.fixture("", nil)
	both := func(step, operation string, members m) {
		members["Resource"] = s.arn()
		s.do(step, operation, members)
		s.do(step+"_listtags", "ListTags", m{"Resource": s.arn()})
	}
	both("tag_single_response", "TagResource", m{"Tags": m{"A": "tag-a"}})
	both("tag_multiple_response", "TagResource", m{"Tags": m{"B": "tag-b", "C": "tag-c"}})
	both("tag_overlap_response", "TagResource", m{"Tags": m{"C": "tag-c-newsuffix", "D": "tag-d"}})
	both("untag_single_response", "UntagResource", m{"TagKeys": []string{"A"}})
	both("untag_multiple_response", "UntagResource", m{"TagKeys": []string{"B", "C"}})
	both("untag_nonexisting_response", "UntagResource", m{"TagKeys": []string{"F"}})
	both("untag_existing_and_nonexisting_response", "UntagResource", m{"TagKeys": []string{"D", "F"}})
}

func tagExceptions(s *session) {
	s.fixture("", nil)
	tags := m{"key_a": "value_a"}
	s.do("tag_lambda_invalidarn", "TagResource", m{"Resource": "arn:aws:something", "Tags": tags})
	s.do("tag_lambda_doesnotexist", "TagResource", m{"Resource": strings.Replace(s.arn(), s.fn, "doesnotexist", 1), "Tags": tags})
	s.do("tag_lambda_qualifier_doesnotexist", "TagResource", m{"Resource": s.arn() + ":v1", "Tags": tags})
	s.do("list_tag_lambda_empty", "ListTags", m{"Resource": s.arn()})
	s.do("untag_nomatch", "UntagResource", m{"Resource": s.arn(), "TagKeys": []string{"somekey"}})
	s.do("untag_empty_keys", "UntagResource", m{"Resource": s.arn(), "TagKeys": []string{}})
	s.do("tag_empty_tags", "TagResource", m{"Resource": s.arn(), "Tags": m{}})
}

func tagLimits(s *session) {
	s.fixture("", nil)
	tags := func(n int) m {
		out := m{}
		for k := range n {
			out[fmt.Sprintf("%d_key", k)] = fmt.Sprintf("%d_value", k)
		}
		return out
	}
	s.create("create_function_invalid_tags", m{"FunctionName": "other", "Tags": tags(51)})
	s.do("tag_lambda_too_many_tags", "TagResource", m{"Resource": s.arn(), "Tags": tags(51)})
	s.do("tag_response", "TagResource", m{"Resource": s.arn(), "Tags": tags(50)})
	s.do("list_tags_response", "ListTags", m{"Resource": s.arn()})
	s.do("get_fn_response", "GetFunction", m{"FunctionName": s.fn})
	s.do("tag_lambda_too_many_tags_additional", "TagResource", m{"Resource": s.arn(), "Tags": m{"a_key": "a_value"}})
}

func tagsLifecycle(s *session) {
	s.fixture("", m{"Tags": m{"key_a": "value_a"}})
	both := func(suffix string) {
		s.do("list_tags_response_"+suffix, "ListTags", m{"Resource": s.arn()})
		s.do("get_fn_response_"+suffix, "GetFunction", m{"FunctionName": s.arn()})
	}
	both("postfncreate")
	s.do("tag_resource_response", "TagResource", m{"Resource": s.arn(), "Tags": m{"key_b": "value_b", "key_c": "value_c", "key_d": "value_d", "key_e": "value_e"}})
	both("postaddtags")
	s.do("tag_resource_overwrite", "TagResource", m{"Resource": s.arn(), "Tags": m{"key_b": "value_b", "key_c": "value_x"}})
	both("overwrite")
	s.send("UntagResource", m{"Resource": s.arn(), "TagKeys": []string{"key_c", "key_d"}})
	both("postuntag")
	s.send("UntagResource", m{"Resource": s.arn(), "TagKeys": []string{"key_a", "key_b", "key_e"}})
	both("postuntagall")
	s.send("DeleteFunction", m{"FunctionName": s.fn})
	s.do("list_tags_postdelete", "ListTags", m{"Resource": s.arn()})
}

func permissionExceptions(s *session) {
	s.fixture("", nil)
	s.permit("add_permission_invalid_statement_id", s.fn, m{"StatementId": "example.com"})
	s.permit("add_permission_fn_qualifier_mismatch", s.fn+":alias-not-42", m{"SourceArn": bucket, "Qualifier": "42"})
	s.permit("add_permission_fn_qualifier_latest", s.fn+":$LATEST", m{"SourceArn": bucket, "Qualifier": "$LATEST"})
	s.permit("add_permission_principal_invalid", s.fn, m{"StatementId": "lambda", "Principal": "invalid.nonaws.com", "SourceAccount": account})
	s.do("get_policy_fn_doesnotexist", "GetPolicy", m{"FunctionName": "doesnotexist"})
	s.do("get_policy_fn_version_doesnotexist", "GetPolicy", m{"FunctionName": s.fn, "Qualifier": "77"})
	s.permit("add_permission_fn_doesnotexist", "doesnotexist", m{"SourceArn": bucket})
	s.do("remove_permission_policy_doesnotexist", "RemovePermission", m{"FunctionName": s.fn, "StatementId": "s3"})
	s.permit("add_permission_fn_alias_doesnotexist", s.fn+":alias-doesnotexist", m{"SourceArn": bucket})
	s.permit("add_permission_fn_version_doesnotexist", s.fn, m{"SourceArn": bucket, "Qualifier": "42"})
	s.permit("add_permission_fn_qualifier_invalid", s.fn, m{"SourceArn": bucket, "Qualifier": "invalid-qualifier-with-?-char"})
	s.permit("add_permission_fn_qualifier_valid_doesnotexist", s.fn, m{"SourceArn": bucket, "Qualifier": "valid-with-$-but-doesnotexist"})
	s.permit("", s.fn, m{"SourceArn": bucket})
	s.permit("add_permission_conflicting_statement_id", s.fn, m{"SourceArn": bucket})
	s.do("remove_permission_fn_doesnotexist", "RemovePermission", m{"FunctionName": "doesnotexist", "StatementId": "s3"})
	s.do("remove_permission_fn_alias_doesnotexist", "RemovePermission", m{"FunctionName": s.fn, "StatementId": "s3", "Qualifier": "alias-doesnotexist"})
}

func permissionVersions(s *session) {
	s.fixture("", nil)
	from, policy := m{"SourceArn": bucket}, m{"FunctionName": s.fn}
	s.permit("add_permission", s.fn, from)
	s.do("get_policy", "GetPolicy", policy)
	s.do("publish_version_result", "PublishVersion", policy)
	s.settle(s.fn)
	s.do("get_function_result_after_publishing", "GetFunction", policy)
	s.do("get_policy_after_publishing_latest", "GetPolicy", policy)
	s.do("get_policy_after_publishing_new_version", "GetPolicy", m{"FunctionName": s.fn, "Qualifier": "1"})
	s.permit("", s.fn+":1", m{"SourceArn": bucket, "Qualifier": "1"})
	s.do("get_policy_version", "GetPolicy", m{"FunctionName": s.fn, "Qualifier": "1"})
	alias := s.do("create_alias_response", "CreateAlias", m{"FunctionName": s.fn, "Name": "permission-alias", "FunctionVersion": "1"})
	s.do("get_alias", "GetAlias", m{"FunctionName": s.fn, "Name": "permission-alias"})
	s.permit("add_permission_alias_revision_exception", s.fn, m{"SourceArn": bucket, "Qualifier": "permission-alias", "RevisionId": "wrong"})
	s.permit("", s.fn+":permission-alias", m{"SourceArn": bucket, "Qualifier": "permission-alias", "RevisionId": alias["RevisionId"]})
	s.do("get_policy_alias", "GetPolicy", m{"FunctionName": s.fn, "Qualifier": "permission-alias"})
	now := s.do("get_policy_after_adding_to_new_version", "GetPolicy", policy)
	s.permit("", s.fn, m{"StatementId": "s3_2", "SourceArn": bucket, "RevisionId": now["RevisionId"]})
	s.do("get_policy_after_adding_2", "GetPolicy", policy)
}

func permissionFields(s *session) {
	s.fixture("", nil)
	s.permit("add_permission_principal_wildcard", s.fn, m{"StatementId": "wilcard", "Principal": "*", "SourceAccount": account})
	s.permit("add_permission_principal_service", s.fn, m{"StatementId": "lambda", "Principal": "lambda.amazonaws.com", "SourceAccount": account})
	s.permit("add_permission_principal_account", s.fn, m{"StatementId": "account-id", "Principal": account})
	s.permit("add_permission_principal_arn", s.fn, m{"StatementId": "user-arn", "Principal": "arn:aws:iam::" + account + ":user/u", "SourceAccount": account})
	s.permit("add_permission_optional_fields", s.fn, m{"StatementId": "urlPermission", "Action": "lambda:InvokeFunctionUrl", "Principal": "*",
		"SourceArn": bucket, "SourceAccount": account, "PrincipalOrgID": "o-1234567890", "FunctionUrlAuthType": "NONE"})
	s.permit("add_permission_alexa_skill", s.fn, m{"StatementId": "alexaSkill", "Principal": "*", "EventSourceToken": "amzn1.ask.skill.xxxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"})
}

func (s *session) used() float64 {
	return s.send("GetAccountSettings", m{})["AccountUsage"].(m)["TotalCodeSize"].(float64)
}

func codeSize(s *session) {
	grow := func(step string, act func()) {
		before := s.used()
		act()
		s.compare(step, s.used()-before)
	}
	code, layer := padded(276), padded(169)
	grow("total_code_size_diff_create_function", func() { s.fixture("", m{"Code": m{"ZipFile": code}}) })
	grow("total_code_size_diff_update_function", func() {
		s.send("UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": code, "Publish": true})
	})
	publish := m{"LayerName": "testlayer", "Content": m{"ZipFile": layer}}
	grow("total_code_size_diff_publish_layer", func() { s.send("PublishLayerVersion", publish) })
	grow("total_code_size_diff_publish_layer_version", func() { s.send("PublishLayerVersion", publish) })
}

func codeSizeOfConfig(s *session) {
	before := s.used()
	s.fixture("", m{"Runtime": "nodejs20.x", "Code": m{"ZipFile": padded(300)}})
	s.compare("is_total_code_size_diff_create_function_more_than_200", s.used()-before > 200)
	before = s.used()
	s.send("UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Runtime": "nodejs22.x"})
	s.settle(s.fn)
	s.compare("total_code_size_diff_update_function_configuration", s.used()-before)
	before = s.used()
	s.send("PublishVersion", m{"FunctionName": s.fn, "Description": "actually publish the config update"})
	s.compare("is_total_code_size_diff_publish_version_after_config_update_more_than_200", s.used()-before > 200)
}
