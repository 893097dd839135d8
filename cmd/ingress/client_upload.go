package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/builder"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
	functionpb "github.com/m3o/ingress/proto/function"
)

// packed says what was uploaded.
type packed struct {
	files int64
	// skipped names what cannot be packed, with the reason.
	skipped []string
}

// packer writes a folder to an archive.
type packer func(ctx context.Context, dir string, to io.Writer) (packed, error)

// checkNew refuses a name that the platform would refuse, before a folder is
// uploaded for it. Only this platform takes folders, so its rules are the ones.
func checkNew(name string) error {
	if err := workload.CheckName(name); err != nil {
		return &problem{text: err.Error(), hint: terse()[err.Error()], cause: err}
	}
	return nil
}

// checkThere refuses to upload a folder for what does not exist.
func (c *client) checkThere(ctx context.Context, w target) error {
	if _, err := c.standing(ctx, w); err != nil {
		return c.explain(ctx, err)
	}
	return nil
}

// checkRuntime refuses to upload a folder in a language that the platform does not
// have.
func (c *client) checkRuntime(ctx context.Context, asked string) error {
	res := &functionpb.RuntimesResponse{}
	if _, err := c.invoke(ctx, "function", "Runtimes", &functionpb.RuntimesRequest{}, res); err != nil {
		return c.explain(ctx, err)
	}
	language, known := builder.ParseRuntime(asked)
	if known && slices.Contains(res.Runtimes, language) {
		return nil
	}
	const text = "invalid runtime"
	if why := res.Unavailable[language]; why != "" {
		return &problem{text: text + ": " + why}
	}
	return &problem{text: text, hint: terse()[text]}
}

// upload packs a folder and sends it as it is packed, and returns what the platform
// calls it. What the two services answer is the same.
func (c *client) upload(ctx context.Context, service, dir string, show *progress) (string, error) {
	began := time.Now()
	show.running("upload", began.Format(time.RFC3339Nano))
	from, to := io.Pipe()
	type result struct {
		packed
		err error
	}
	ended := make(chan result, 1)
	go func() {
		p, err := c.pack(ctx, dir, to)
		_ = to.CloseWithError(err) // never fails; without an error it is the end
		ended <- result{p, err}
	}()
	res := &apppb.UploadResponse{}
	err := c.platform.Upload(ctx, service, "Upload", from, res)
	_ = from.Close() // ends the packing of what was refused
	packing := <-ended
	show.clear()
	switch {
	case packing.err != nil && !errors.Is(packing.err, io.ErrClosedPipe) && ctx.Err() == nil:
		return "", &problem{text: fmt.Sprintf("cannot pack %s: %v", dir, packing.err), cause: packing.err}
	case err != nil:
		return "", tooLarge(dir, c.explain(ctx, err))
	}
	show.step("upload", time.Since(began), fmt.Sprintf("%s, %s", files(packing.files), size(res.GetSize())))
	for _, skipped := range packing.skipped {
		c.say("not uploaded: %s", skipped)
	}
	return res.GetUpload(), nil
}

// tooLarge adds what to do to the problem with an archive that is too large.
func tooLarge(dir string, err error) error {
	var shown *problem
	var known *api.Error
	if errors.As(err, &shown) && errors.As(err, &known) && known.Code == http.StatusRequestEntityTooLarge {
		shown.hint = "Name what the build does not need in " + filepath.Join(dir, ".ingressignore") +
			"; whoever operates the ingress can allow more with --max-source-bytes."
	}
	return err
}

// files writes a number of files for people.
func files(n int64) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// size writes a number of bytes for people.
func size(n int64) string {
	const step = 1 << 10
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < step {
		return fmt.Sprintf("%d bytes", n)
	}
	shown := float64(n) / step
	for len(units) > 1 && shown >= step {
		shown, units = shown/step, units[1:]
	}
	return fmt.Sprintf("%.1f %s", shown, units[0])
}
