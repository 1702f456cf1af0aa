package catalog_test

import (
	"fmt"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/catalog"
)
