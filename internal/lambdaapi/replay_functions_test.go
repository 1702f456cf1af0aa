package lambdaapi_test

import (
	"fmt"
	"maps"
	"regexp"
	"sort"
	"strings"
)

// scenarios are the recorded tests whose operations lambent has.
func scenarios() map[string]scenario {
	all := map[string]scenario{}
	for _, part := range []map[string]scenario{functionScenarios(), nameScenarios(), versionScenarios(), sideScenarios(), provisionScenarios(), urlScenarios(), imageScenarios(), layerScenarios(), eventScenarios()} {
		maps.Copy(all, part)
	}
	return all
}

// outOfScope says why a recorded test is not replayed, or "".
func outOfScope(name string) string {
	const (
		unpacks = "unpacks 250 MB; the limit is tested in package artifact"
		gone    = "recorded in 2022 from a test that is gone; test_lambda_permission_fn_versioning took its place"
	)
	return byPrefix(name, map[string]string{
		"TestCodeSigningConfig::test_function_code_signing_config": "code signing is not implemented",
		"TestLambdaEventSourceMappings::":                          "event source mappings are not implemented",
		"TestLambdaTag::test_create_tag_on_esm_create":             "event source mappings are not implemented",
		"TestLambdaTag::test_tag_lifecycle[event_source_mapping]":  "event source mappings are not implemented",
		"TestLambdaSizeLimits::test_large_lambda":                  unpacks,
		"TestLambdaSizeLimits::test_oversized_lambda":              unpacks,
		"TestLambdaSizeLimits::test_oversized_unzipped_lambda":     unpacks,
		"TestLambdaPermissions::test_lambda_permission_revisions":  gone,
		"TestLambdaPermissions::test_lambda_permission_versioning": gone,
		"TestLambdaFunction::test_invalid_vpc_config_security":     "there is no EC2 to ask whether a security group exists",
	})
}

// unsent says why a step of a replayed test is left out, or "".
func unsent(step string) string {
	return byPrefix(step, map[string]string{
		"TestCodeSigningConfig::test_code_signing_not_found_excs::":                                              "code signing is not implemented",
		"TestLambdaUrl::test_url_config_exceptions::delete_function_url_config_qualifier_alias_doesnotmatch_arn": "AWS failed itself",
		"TestLambdaFunction::test_create_lambda_exceptions::empty_architectures":                                 "the suite's own client refuses it",
		"TestLambdaFunction::test_invalid_vpc_config_subnet::create-response-non-existent-subnet-id":             "there is no EC2 to ask whether a subnet exists",
	})
}

// accepted says why an answer differs from the recorded one, or "".
func accepted(step string) string {
	return byPrefix(step, map[string]string{
		"TestLambdaFunction::test_function_arns::function_arn_other_account_exc": "AWS gives no message; ours says what is wrong",
		"TestLambdaFunction::test_vpc_config::":                                  "there is no VPC, so that it has no id",
		"TestLambdaVersions::test_publish_with_wrong_revisionid::":               "recorded in 2022, before LoggingConfig and SnapStart were answered",
	})
}

func byPrefix(name string, reasons map[string]string) string {
	for prefix, reason := range reasons {
		if strings.HasPrefix(name, prefix) {
			return reason
		}
	}
	return ""
}

func functionScenarios() map[string]scenario {
	all := map[string]scenario{
		"TestLambdaFunction::test_function_lifecycle": func(s *session) {
			s.fixture("create_response", m{"MemorySize": 256, "Timeout": 5})
			s.do("get_function_response", "GetFunction", m{"FunctionName": s.fn})
			s.do("update_func_conf_response", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Runtime": "python3.11", "Description": "Changed-Description",
				"MemorySize": 512, "Timeout": 10, "Environment": m{"Variables": m{"ENV_A": "a"}}})
			s.settle(s.fn)
			s.do("get_function_response_postupdate", "GetFunction", m{"FunctionName": s.fn})
			s.do("update_code_response", "UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": archive("index.py", "two")})
			s.settle(s.fn)
			s.do("get_function_response_postcodeupdate", "GetFunction", m{"FunctionName": s.fn})
			s.do("delete_response", "DeleteFunction", m{"FunctionName": s.fn})
			s.do("delete_postdelete", "DeleteFunction", m{"FunctionName": s.fn})
		},
		"TestLambdaFunction::test_redundant_updates": func(s *session) {
			s.fixture("create_response", m{"Description": "Initial description"})
			again := m{"FunctionName": s.fn, "Description": "1st update description"}
			s.do("first_update_result", "UpdateFunctionConfiguration", again)
			s.settle(s.fn)
			s.do("get_fn_config_result", "GetFunctionConfiguration", m{"FunctionName": s.fn})
			s.do("get_fn_result", "GetFunction", m{"FunctionName": s.fn})
			s.do("redundant_update_result", "UpdateFunctionConfiguration", again)
			s.settle(s.fn)
			s.do("get_fn_result_after_redundant_update", "GetFunction", m{"FunctionName": s.fn})
		},
		"TestLambdaFunction::test_delete_on_nonexisting_version": func(s *session) {
			s.fixture("", nil)
			s.send("DeleteFunction", m{"FunctionName": s.fn, "Qualifier": "1233"})
			s.send("DeleteFunction", m{"FunctionName": s.fn})
			s.do("delete_function_response_non_existent", "DeleteFunction", m{"FunctionName": s.fn})
			s.do("delete_function_response_non_existent_with_qualifier", "DeleteFunction", m{"FunctionName": s.fn, "Qualifier": "1233"})
		},
		"TestLambdaFunction::test_lambda_code_location_zipfile": func(s *session) {
			s.create("create-response-zip-file", nil)
			s.do("get-function-response", "GetFunction", m{"FunctionName": s.fn})
			s.do("update-function-response", "UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": archive("index.py", "two")})
			s.do("get-function-response-updated", "GetFunction", m{"FunctionName": s.fn})
		},
		"TestLambdaFunction::test_lambda_code_location_s3": func(s *session) {
			s.s3["bucket/code/f.zip"] = archive("index.py", "one")
			code := m{"S3Bucket": "bucket", "S3Key": "code/f.zip"}
			s.create("create_response_s3", m{"Code": code})
			s.do("get-function-response", "GetFunction", m{"FunctionName": s.fn})
			s.s3["bucket/code/f.zip"] = archive("index.py", "two")
			code["FunctionName"] = s.fn
			s.do("update-function-response", "UpdateFunctionCode", code)
			s.do("get-function-response-updated", "GetFunction", m{"FunctionName": s.fn})
		},
		"TestLambdaFunction::test_lambda_code_location_s3_errors": func(s *session) {
			s.s3["bucket/code/f.zip"] = archive("index.py", "one")
			s.create("create-error-wrong-bucket", m{"Code": m{"S3Bucket": "no-such-bucket", "S3Key": "code/f.zip"}})
			s.create("create-error-wrong-key", m{"Code": m{"S3Bucket": "bucket", "S3Key": "non/existent.zip"}})
			s.create("", m{"Code": m{"S3Bucket": "bucket", "S3Key": "code/f.zip"}})
			s.do("update-error-wrong-bucket", "UpdateFunctionCode", m{"FunctionName": s.fn, "S3Bucket": "no-such-bucket", "S3Key": "code/f.zip"})
			s.do("update-error-wrong-key", "UpdateFunctionCode", m{"FunctionName": s.fn, "S3Bucket": "bucket", "S3Key": "non/existent.zip"})
		},
		"TestLambdaFunction::test_create_lambda_exceptions": func(s *session) {
			s.create("invalid_role_arn_exc", m{"Role": "r1"})
			s.create("invalid_runtime_exc", m{"Runtime": "non-existent-runtime"})
			s.create("uppercase_runtime_exc", m{"Runtime": "PYTHON3.9"})
			s.create("multiple_architectures", m{"Architectures": []string{"x86_64", "arm64"}})
			s.create("uppercase_architecture", m{"Architectures": []string{"X86_64"}})
			s.create("invalid_zip_exc", m{"Code": m{"ZipFile": []byte("this is not a zipfile, just a random string")}})
		},
		"TestLambdaFunction::test_update_lambda_exceptions": func(s *session) {
			s.create("", nil)
			s.do("invalid_role_arn_exc", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Role": "r1"})
			s.do("invalid_runtime_exc", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Runtime": "non-existent-runtime"})
			s.do("uppercase_runtime_exc", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Runtime": "PYTHON3.9"})
		},
		"TestLambdaFunction::test_list_functions": func(s *session) {
			s.fixture("create_response_1", m{"FunctionName": "list-fn-1-aa", "Publish": true})
			s.fixture("create_response_2", m{"FunctionName": "list-fn-2-bb"})
			s.do("list_functions_invalid_functionversion", "ListFunctions", m{"FunctionVersion": "invalid"})
			s.pages("list_all", "ListFunctions", "Functions", m{"FunctionVersion": "ALL"})
			s.pages("list_default", "ListFunctions", "Functions", m{})
		},
		"TestLambdaFunction::test_vpc_config": func(s *session) {
			s.fixture("create_response", m{"MemorySize": 256, "Timeout": 5, "VpcConfig": m{"SubnetIds": []string{"subnet-1"}, "SecurityGroupIds": []string{"sg-1"}}})
			s.do("get_function_response", "GetFunction", m{"FunctionName": s.fn})
			s.do("update_vpcconfig_update_response", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "VpcConfig": m{"SubnetIds": []string{"subnet-2"}, "SecurityGroupIds": []string{"sg-2"}}})
			s.settle(s.fn)
			s.do("update_vpcconfig_get_function_response", "GetFunction", m{"FunctionName": s.fn})
			s.do("delete_vpcconfig_update_response", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "VpcConfig": m{"SubnetIds": []string{}, "SecurityGroupIds": []string{}}})
			s.settle(s.fn)
			s.do("delete_vpcconfig_get_function_response", "GetFunction", m{"FunctionName": s.fn})
		},
		"TestLambdaFunction::test_invalid_vpc_config_subnet": func(s *session) {
			s.create("create-response-invalid-format-subnet-id", m{"VpcConfig": m{"SubnetIds": []string{"bad-format-1"}, "SecurityGroupIds": []string{"sg-1"}}})
		},
		"TestLambdaFunction::test_invalid_invoke": func(s *session) {
			s.do("invoke_function_name_pattern_exc", "Invoke", m{"FunctionName": "arn:aws:lambda:us-east-1:123400000000@function:myfn", "Payload": []byte("{}")})
		},
		"TestLambdaFunction::test_lambda_concurrent_code_updates": func(s *session) {
			s.create("create-function-response", m{"Handler": "handler.handler"})
			s.send("UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": archive("index.py", "1")})
			s.do("update-during-in-progress-update-exc", "UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": archive("index.py", "2")})
		},
		"TestLambdaFunction::test_lambda_concurrent_config_updates": func(s *session) {
			s.fixture("create-function-response", nil)
			s.send("UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Environment": m{"Variables": m{"TEST": "TEST1"}}})
			s.do("update-during-in-progress-update-exc", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Environment": m{"Variables": m{"TEST": "TEST2"}}})
		},
		"TestLambdaFunction::test_function_arns": functionARNs,
		"TestLambdaImages::test_lambda_zip_file_to_image": func(s *session) {
			s.create("create-image-response", m{"Handler": "handler.handler"})
			s.do("get-function-code-response", "GetFunction", m{"FunctionName": s.fn})
			s.do("get-function-config-response", "GetFunctionConfiguration", m{"FunctionName": s.fn})
			s.do("zipfile-to-image-error", "UpdateFunctionCode", m{"FunctionName": s.fn, "ImageUri": "repo/image:latest"})
			s.do("get-function-code-response-after-update", "GetFunction", m{"FunctionName": s.fn})
			s.do("get-function-config-response-after-update", "GetFunctionConfiguration", m{"FunctionName": s.fn})
		},
	}
	perOperation(all, "TestLambdaFunction::test_ops_with_arn_qualifier_mismatch", func(s *session, op string) {
		arn := "arn:aws:lambda:us-east-1:" + account + ":function:some-function:"
		s.do("not_match_exception", op, m{"FunctionName": arn + "1", "Qualifier": "$LATEST"})
		s.do("match_exception", op, m{"FunctionName": arn + "$LATEST", "Qualifier": "$LATEST"})
	})
	perOperation(all, "TestLambdaFunction::test_ops_on_nonexisting_version", func(s *session, op string) {
		s.fixture("", nil)
		s.do("version_not_found_exception", op, m{"FunctionName": s.fn, "Qualifier": "1221"})
	})
	perOperation(all, "TestLambdaFunction::test_ops_on_nonexisting_fn", func(s *session, op string) {
		s.do("not_found_exception", op, m{"FunctionName": s.fn})
	})
	wrongRegion := func(s *session, op string) {
		s.do("wrong_region_exception", op, m{"FunctionName": "arn:aws:lambda:eu-central-1:" + account + ":function:" + s.fn})
	}
	perOperation(all, "TestLambdaFunction::test_get_function_wrong_region", wrongRegion)
	for _, r := range []string{"dotnetcore3.1", "go1.x", "java8", "nodejs12.x", "nodejs14.x", "provided", "python3.7", "ruby2.7"} {
		all["TestRuntimeValidation::test_create_deprecated_function_runtime_with_validation_enabled["+r+"]"] = func(s *session) {
			s.create("deprecation_error", m{"Runtime": r})
		}
	}
	return all
}

// perOperation makes the scenarios of a test that the suite runs for several
// operations.
func perOperation(all map[string]scenario, test string, run func(s *session, operation string)) {
	for call, op := range map[string]string{
		"get_function": "GetFunction", "delete_function": "DeleteFunction", "get_function_configuration": "GetFunctionConfiguration",
		"get_function_url_config":          "GetFunctionUrlConfig",
		"get_function_code_signing_config": "GetFunctionCodeSigningConfig", "get_function_concurrency": "GetFunctionConcurrency",
		"get_function_event_invoke_config": "GetFunctionEventInvokeConfig",
		"invoke":                           "Invoke",
	} {
		all[test+"["+call+"]"] = func(s *session) { run(s, op) }
	}
}

func functionARNs(s *session) {
	prefix := "arn:aws:lambda:us-east-1:" + account + ":function:"
	s.fixture("create-function-arn-response", m{"FunctionName": prefix + "test-function-arn-1"})
	s.fixture("create-function-partial-arn-response", m{"FunctionName": account + ":function:test-partial-arn-2"})
	s.create("invalid_function_name_exc", m{"FunctionName": "invalid:function:name"})
	s.create("long_function_name_exc", m{"FunctionName": strings.Repeat("a", 65)})
	s.create("long_function_arn_exc", m{"FunctionName": prefix + strings.Repeat("a", 141-len(prefix))})
	s.create("function_arn_other_region_exc", m{"FunctionName": "arn:aws:lambda:ap-southeast-1:" + account + ":function:f"})
	s.create("function_arn_other_account_exc", m{"FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:f"})
}

// nameScenarios are the many ways to misname a function.
func nameScenarios() map[string]scenario {
	a := func(n int) string { return strings.Repeat("a", n) }
	arn := "arn:aws:lambda:us-east-1:" + account + ":function"
	all := map[string]scenario{}
	for id, in := range map[string][2]string{
		"invalid_characters_in_function_name":                {"my-function!"},
		"function_name_is_single_invalid":                    {"*"},
		"invalid_characters_in_qualifier":                    {"my-function", "invalid!"},
		"qualifier_too_long":                                 {"my-function", a(129)},
		"qualifier_too_long0":                                {"my-function", a(129)},
		"qualifier_too_long1":                                {"my-function", a(65)},
		"function_name_and_qualifier_too_long":               {"my-function", a(65)},
		"invalid_account_id_in_partial_arn":                  {"invalid-account:function:my-function"},
		"invalid_region_in_arn":                              {"arn:aws:lambda:invalid-region:" + account + ":function:my-function"},
		"non_lambda_arn":                                     {"arn:aws:ec2:us-east-1:" + account + ":instance:i-1234567890abcdef0"},
		"function_name_too_long":                             {a(65)},
		"function_name_too_long_and_invalid_region":          {"arn:aws:lambda:invalid-region:" + account + ":function:my-function" + a(170)},
		"full_arn_and_qualifier_too_long_and_invalid_region": {"arn:aws:lambda:invalid-region:" + account + ":function:my-function-" + a(170), a(129)},
		"full_arn_with_multiple_qualifiers":                  {arn + ":my-function:1:2"},
		"incomplete_arn":                                     {arn},
		"partial_arn_with_extra_qualifier":                   {"function:my-function:$LATEST:extra"},
		"latest_version_with_additional_qualifier":           {arn + ":my-function:$LATEST", "1"},
		"lowercase_latest_qualifier":                         {arn + ":my-function", "$latest"},
		"missing_region_in_arn":                              {"arn:aws:lambda::" + account + ":function:my-function"},
		"missing_account_id_in_arn":                          {"arn:aws:lambda:us-east-1::function:my-function"},
		"misspelled_latest_in_arn":                           {arn + ":my-function:$LATES"},
	} {
		for call, op := range map[string]string{"get_function": "GetFunction", "delete_function": "DeleteFunction", "invoke": "Invoke", "create_function": "CreateFunction"} {
			all["TestLambdaFunction::test_function_name_and_qualifier_validation["+id+"-"+call+"]"] = func(s *session) {
				if len(s.recorded) == 0 {
					return // it succeeded on AWS, and was not recorded
				}
				members := m{"FunctionName": in[0]}
				if in[1] != "" {
					members["Qualifier"] = in[1]
				}
				if op == "CreateFunction" {
					members = m{"FunctionName": strings.TrimSuffix(in[0]+":"+in[1], ":"), "Role": role, "Runtime": "python3.12", "Handler": "index.handler", "Code": m{"ZipFile": archive("a", "b")}}
				}
				for _, n := range []int{65, 129, 140, 170} {
					s.bound[fmt.Sprintf("<a:len(%d)>", n)] = a(n)
				}
				s.compare(call+"_exception", brief(s.send(op, members)))
			}
		}
	}
	return all
}

var violation = regexp.MustCompile(`Value '.*?' at '.*?' failed to satisfy constraint: [^;]+`)

// brief is the form in which the suite records the errors about names.
func brief(out m) m {
	e, _ := out["Error"].(m)
	message := fmt.Sprint(e["Message"])
	found := violation.FindAllString(message, -1)
	if len(found) == 0 {
		return m{"Code": e["Code"], "Message": message}
	}
	sort.Strings(found)
	list := make([]any, len(found))
	for i, f := range found {
		list[i] = f
	}
	return m{"Code": e["Code"], "Count": float64(len(found)), "Errors": list}
}
