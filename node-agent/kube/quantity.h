// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/struct.pb.h>

#include <cstdint>
#include <string_view>

#include "node-agent/model/bytes.h"
#include "node-agent/model/result.h"

namespace ullage::kube {

/// Longer than any figure of a machine needs: 2^63 − 1 has 19 digits.
inline constexpr std::size_t kMaxQuantityLength = 64;
inline constexpr int kMaxQuantityDigits = 20;  ///< leading and trailing zeros not counted

/// A Kubernetes quantity ("512Mi", "1.5G", "100m", "1e3") in whole units, rounded up, away from
/// zero, as Quantity.Value() of apimachinery does it; its grammar is in the API reference
/// (resource.Quantity). kInvalid: none, or more than kMaxQuantityDigits digits that count;
/// kExhausted: it does not fit 63 bits. Kubernetes caps there; a figure that is not the one that
/// was written is worse than none.
Result<std::int64_t> ParseQuantity(std::string_view text);

/// The same of a JSON value: a string, or a bare number as custom resources may hold it. kNotFound:
/// null.
Result<std::int64_t> ParseQuantity(const google::protobuf::Value& value);

/// A quantity of memory. kInvalid: it is negative.
Result<Bytes> ParseBytes(const google::protobuf::Value& value);

}  // namespace ullage::kube
