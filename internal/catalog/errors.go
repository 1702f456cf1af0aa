package catalog

import (
	"fmt"

	"lambent.dev/lambent"
)

// The errors of this room whose texts AWS clients may know, on one page. The
// texts are those that AWS answers with.

func (c *Catalog) functionNotFound(k id, qualifier string) *lambent.Error {
	return lambent.Errorf(lambent.CodeNotFound, "Function not found: %s", lambent.FunctionARN(c.o.Region, k.ns, k.name, qualifier))
}

func functionExists(name string) *lambent.Error {
	return lambent.Errorf(lambent.CodeConflict, "Function already exist: %s", name)
}

func (c *Catalog) aliasNotFound(k id, name string) *lambent.Error {
	return lambent.Errorf(lambent.CodeNotFound, "Cannot find alias arn: %s", lambent.FunctionARN(c.o.Region, k.ns, k.name, name))
}

// aliasToUpdateNotFound is how UpdateAlias puts it.
func (c *Catalog) aliasToUpdateNotFound(k id, name string) *lambent.Error {
	return lambent.Errorf(lambent.CodeNotFound, "Alias not found: %s", lambent.FunctionARN(c.o.Region, k.ns, k.name, name))
}

func (c *Catalog) aliasExists(k id, name string) *lambent.Error {
	return lambent.Errorf(lambent.CodeConflict, "Alias already exists: %s", lambent.FunctionARN(c.o.Region, k.ns, k.name, name))
}

// layerVersionMissing comes as CodeNotFound for an operation on the layer, as
// CodeInvalid for a function that refers to it.
func layerVersionMissing(code lambent.Code, arn string) *lambent.Error {
	return lambent.Errorf(code, "Layer version %s does not exist.", arn).WithReason("LayerVersionNotFound")
}

func resourceNotFound() *lambent.Error {
	return lambent.Errorf(lambent.CodeNotFound, "The resource you requested does not exist.")
}

func updateInProgress(arn string) *lambent.Error {
	return lambent.Errorf(lambent.CodeConflict, "The operation cannot be performed at this time. An update is in progress for resource: %s", arn)
}

func functionIsIn(state lambent.State) *lambent.Error {
	return lambent.Errorf(lambent.CodeConflict, "The operation cannot be performed at this time. The function is currently in the following state: %s", state)
}

// revisionMismatch names the calls that tell the current revision.
func revisionMismatch(calls string) *lambent.Error {
	return lambent.Errorf(lambent.CodePrecondition, "The Revision Id provided does not match the latest Revision Id. "+
		"Call the %s API to retrieve the latest Revision Id", calls).WithReason("RevisionMismatch")
}

const (
	functionRevisionCalls    = "GetFunction/GetAlias"
	policyRevisionCalls      = "GetPolicy"
	layerPolicyRevisionCalls = "GetLayerPolicy"
)

func invalid(reason, format string, args ...any) *lambent.Error {
	return &lambent.Error{Code: lambent.CodeInvalid, Reason: reason, Message: fmt.Sprintf(format, args...)}
}
