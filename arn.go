package lambent

// FunctionRef is a function name as a caller wrote it, taken apart. Account and
// Region are "" when the form did not carry them.
type FunctionRef struct {
	Account   string
	Region    string
	Name      string
	Qualifier string
}

// LayerRefARN is a layer or layer version ARN, taken apart.
type LayerName struct {
	Account string
	Region  string
	Name    string
	Version int // 0 for a layer without version
}

// ParseFunctionName takes apart a function name, partial or full ARN.
func ParseFunctionName(s, region string) (FunctionRef, error) { panic("todo") }

// ParseLayerARN takes apart a layer or layer version ARN.
func ParseLayerARN(s string) (LayerName, error) { panic("todo") }
