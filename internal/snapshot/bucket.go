package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // the scheme s3
	"gocloud.dev/gcerrors"
)

// bucket keeps objects in a bucket. Only the S3 driver is linked; gateways that
// speak S3 exist for the stores of Google and Azure.
type bucket struct {
	b            *blob.Bucket
	client       *s3.Client
	name, prefix string
}

func openBucket(ctx context.Context, u *url.URL) (objects, error) {
	b := bucket{name: u.Host, prefix: u.Query().Get("prefix")}
	var err error
	if b.b, err = blob.OpenBucket(ctx, u.String()); err != nil {
		return nil, err
	}
	if !b.b.As(&b.client) {
		return nil, errors.Join(fmt.Errorf("%s is not a bucket of S3", u), b.b.Close())
	}
	return b, nil
}

func (b bucket) list(ctx context.Context, folder string) ([]string, error) {
	prefix := folder + "/"
	var names []string
	for it := b.b.List(&blob.ListOptions{Prefix: prefix, Delimiter: "/"}); ; {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		if !o.IsDir {
			names = append(names, strings.TrimPrefix(o.Key, prefix))
		}
	}
}

func (b bucket) open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	r, err := b.b.NewReader(ctx, key, nil)
	// The blob library also returns NotFound for a missing bucket.
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "NoSuchKey" {
		return nil, 0, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if err != nil {
		return nil, 0, err
	}
	return r, r.Size(), nil
}

// create sends one request with If-None-Match, which S3 accepts up to 5 GiB. The
// blob library sends large objects in parts, and whether the condition applies to
// the last request of a multi-part upload differs from store to store.
func (b bucket) create(ctx context.Context, key string, body []byte) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(b.name), Key: aws.String(b.prefix + key), Body: bytes.NewReader(body), IfNoneMatch: aws.String("*"),
		ContentType: aws.String("application/octet-stream"),
	})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "PreconditionFailed" {
		return errExists
	}
	return err
}

func (b bucket) move(ctx context.Context, from, to string) error {
	if err := b.b.Copy(ctx, to, from, nil); err != nil {
		return err
	}
	return b.remove(ctx, from)
}

func (b bucket) remove(ctx context.Context, key string) error {
	if err := b.b.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return err
	}
	return nil
}

func (b bucket) close() error { return b.b.Close() }
