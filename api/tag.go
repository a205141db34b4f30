package api

import (
	"context"

	"apron"
)

func (a *appRunner) tagResource(ctx context.Context, scope apron.Scope, in *TagResourceRequest) (*TagResourceResponse, error) {
	return &TagResourceResponse{}, a.control.TagResource(ctx, scope, in.ResourceArn, rootTags(in.Tags))
}

func (a *appRunner) untagResource(ctx context.Context, scope apron.Scope, in *UntagResourceRequest) (*UntagResourceResponse, error) {
	return &UntagResourceResponse{}, a.control.UntagResource(ctx, scope, in.ResourceArn, in.TagKeys)
}

func (a *appRunner) listTagsForResource(ctx context.Context, scope apron.Scope, in *ListTagsForResourceRequest) (*ListTagsForResourceResponse, error) {
	tags, err := a.control.Tags(ctx, scope, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	// The list is optional in the model, but clients range over it: never nil.
	return &ListTagsForResourceResponse{Tags: each(tags, wireTag)}, nil
}

// rootTags converts tags of a request. One without a value has an empty one.
func rootTags(tags []Tag) []apron.Tag {
	return each(tags, func(t Tag) apron.Tag { return apron.Tag{Key: t.Key, Value: value(t.Value)} })
}

func wireTag(t apron.Tag) Tag { return Tag{Key: t.Key, Value: &t.Value} }
