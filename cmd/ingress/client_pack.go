package main

import (
	"context"
	"io"

	"github.com/m3o/ingress/internal/source"
)

// packFolder packs a folder without what its ignore files name.
func packFolder(ctx context.Context, dir string, to io.Writer) (packed, error) {
	result, err := source.Pack(ctx, dir, to)
	return packed{files: result.Files, skipped: result.Skipped}, err
}
