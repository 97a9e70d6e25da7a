// SPDX-License-Identifier: Apache-2.0
#include "node-agent/agent/change_book.h"

#include <gtest/gtest.h>

#include "node-agent/host/temporary_tree.h"

namespace ullage::agent {
namespace {

class ChangeBookTest : public testing::Test {
 protected:
  std::unique_ptr<ChangeBook> Open(const std::string& boot = "boot") {
    auto book = ChangeBook::Open(tree_.path("changes.json"), boot);
    EXPECT_TRUE(book.ok());
    return std::move(*book);
  }
  host::TemporaryTree tree_;
  const GuestChange settle_{{"a"}, "settle_ms", "100", "50"};
};

TEST_F(ChangeBookTest, RemembersForTheNextAgent) {
  {
    const auto book = Open();
    EXPECT_TRUE(book->Changes().empty());
    EXPECT_TRUE(book->Remember(settle_).ok());
    EXPECT_TRUE(book->Remember({{"b"}, "order", "9", "8"}).ok());
    EXPECT_TRUE(book->Forget({{{"b"}, "order", "9", "8"}}).ok());
  }
  const auto changes = Open()->Changes();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].vm, settle_.vm);
  EXPECT_EQ(changes[0].name, "settle_ms");
  EXPECT_EQ(changes[0].before, "100");
  EXPECT_EQ(changes[0].written, "50");
}

TEST_F(ChangeBookTest, KnowsNoOtherBoot) {
  EXPECT_TRUE(Open()->Remember(settle_).ok());
  EXPECT_TRUE(Open("another")->Changes().empty());
}

TEST_F(ChangeBookTest, MovesNonsenseAside) {
  const auto entry = [](const std::string& fields) {
    return R"({"version":1,"boot_id":"boot","changes":[{)" + fields + "}]}";
  };
  for (const std::string& text :
       {std::string("x"), std::string("[]"), std::string(R"({"version":2})"), entry(""),
        entry(R"("uuid":"a","parameter":"../x","before":"1","written":"2")"),
        entry(R"("uuid":"a","parameter":"settle_ms","before":"1; rm","written":"2")"),
        entry(R"("uuid":"a","parameter":"settle_ms","before":"1","written":"2001")")}) {
    tree_.Write("changes.json", text);
    const auto book = Open();
    EXPECT_TRUE(book->Changes().empty()) << text;
    EXPECT_NE(book->trouble(), "") << text;
    EXPECT_EQ(Open()->trouble(), "") << "once";
  }
}

TEST_F(ChangeBookTest, SaysWhenItCannotWrite) {
  auto book = ChangeBook::Open(tree_.path("nowhere/changes.json"), "boot");
  ASSERT_TRUE(book.ok());
  EXPECT_FALSE((*book)->Remember(settle_).ok());
  EXPECT_TRUE((*book)->Changes().empty());
}

}  // namespace
}  // namespace ullage::agent
